//! What ends a task or a run before its time, as it is typed: `--timeout` and `--halt` of `remuda each`. Reading only;
//! the worker knows medians, `follow::halt` counts failures.

use std::str::FromStr;

use super::values::Span;

/// When one attempt has run too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// After this time.
    Time(Span),
    /// After so many percent of the median of what has succeeded.
    Percent(u32),
}

impl FromStr for Limit {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let Some(number) = text.strip_suffix('%') else { return text.parse().map(Self::Time) };
        let wrong = || format!("`{text}` is not a percentage above 100 such as 200%");
        number.parse().ok().filter(|n| (101..=1_000_000).contains(n)).map(Self::Percent).ok_or_else(wrong)
    }
}

impl Limit {
    /// The time, if it is one.
    #[must_use]
    pub fn time(self) -> Option<Span> {
        match self {
            Self::Time(span) => Some(span),
            Self::Percent(_) => None,
        }
    }

    /// The percentage, if it is one.
    #[must_use]
    pub fn percent(self) -> Option<u32> {
        match self {
            Self::Time(_) => None,
            Self::Percent(n) => Some(n),
        }
    }
}

/// `--halt`: when failures end a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Halt {
    /// What runs may end by itself.
    pub soon: bool,
    /// So many failures, or so many of a hundred tasks.
    pub fail: Share,
}

/// A number, or so many of a hundred.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Share {
    /// So many.
    Count(u32),
    /// So many of a hundred.
    Percent(u32),
}

impl FromStr for Halt {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not now,fail=N, soon,fail=N or one of them with N%");
        let (when, what) = text.split_once(',').ok_or_else(wrong)?;
        let soon = match when {
            "now" => false,
            "soon" => true,
            _ => return Err(wrong()),
        };
        let number = what.strip_prefix("fail=").ok_or_else(wrong)?;
        let fail = match number.strip_suffix('%') {
            Some(percent) => percent.parse().ok().filter(|n| (1..=100).contains(n)).map(Share::Percent),
            None => number.parse().ok().filter(|n| *n > 0).map(Share::Count),
        };
        Ok(Self { soon, fail: fail.ok_or_else(wrong)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_a_time_or_a_percentage_that_makes_sense() {
        assert_eq!("200%".parse::<Limit>().unwrap().percent(), Some(200));
        assert_eq!("90s".parse::<Limit>().unwrap().time().unwrap().ms(), 90_000);
        for text in ["50%", "%", "-3%", "x%"] {
            text.parse::<Limit>().unwrap_err();
        }
    }

    #[test]
    fn halts_are_written_as_gnu_parallel_has_them() {
        assert_eq!("soon,fail=30%".parse::<Halt>().unwrap(), Halt { soon: true, fail: Share::Percent(30) });
        assert_eq!("now,fail=2".parse::<Halt>().unwrap(), Halt { soon: false, fail: Share::Count(2) });
        for text in ["never", "now", "soon,fail=0", "now,fail=101%", "later,fail=1", "now,done=1"] {
            text.parse::<Halt>().unwrap_err();
        }
    }
}
