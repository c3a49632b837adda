//! What the console shows again at the end, by `--final-status-level`: skips first, failures last. Bounded; the log of
//! the run has everything.

use remuda_protocol::outcome::Outcome;

use super::Attempt;
use crate::cli::StatusLevel;

/// Failures that are repeated.
const FAILURES: usize = 200;
/// Lines of each other kind.
const OTHERS: usize = 2_000;
/// In the order in which they are shown.
const ORDER: [StatusLevel; 5] =
    [StatusLevel::Skip, StatusLevel::Pass, StatusLevel::Slow, StatusLevel::Retry, StatusLevel::Fail];

/// The level from which a result is shown. `slow_ms`: its group's limit.
#[must_use]
pub fn level(attempt: &Attempt, slow_ms: u64) -> StatusLevel {
    match attempt.outcome {
        Outcome::Failed | Outcome::Errored | Outcome::TimedOut | Outcome::Lost => StatusLevel::Fail,
        Outcome::Passed if attempt.is_flaky() => StatusLevel::Retry,
        Outcome::Passed if slow_ms > 0 && attempt.us / 1_000 >= slow_ms => StatusLevel::Slow,
        Outcome::Passed => StatusLevel::Pass,
        Outcome::Skipped => StatusLevel::Skip,
        Outcome::Cancelled => StatusLevel::All,
    }
}

/// What is kept for the end.
#[derive(Debug)]
pub struct Finale {
    most: StatusLevel,
    kept: [Vec<String>; 5],
    missing: [usize; 5],
}

impl Finale {
    /// Keeps what this level shows.
    #[must_use]
    pub fn new(most: StatusLevel) -> Self {
        Self { most, kept: Default::default(), missing: [0; 5] }
    }

    /// Whether something of this level will be shown.
    #[must_use]
    pub fn wants(&self, level: StatusLevel) -> bool {
        level <= self.most && ORDER.contains(&level)
    }

    /// Keeps the text of a result of this level; whole lines.
    pub fn keep(&mut self, level: StatusLevel, text: impl FnOnce() -> String) {
        let Some(at) = ORDER.iter().position(|l| *l == level).filter(|_| self.wants(level)) else { return };
        let most = if level == StatusLevel::Fail { FAILURES } else { OTHERS };
        if self.kept[at].len() < most { self.kept[at].push(text()) } else { self.missing[at] += 1 }
    }

    /// Everything that was kept.
    pub fn text(&mut self) -> String {
        let mut text = String::new();
        for (kept, missing) in std::mem::take(&mut self.kept).iter().zip(self.missing) {
            kept.iter().for_each(|part| text.push_str(part));
            if missing > 0 {
                text.push_str(&format!("{:>12} and {missing} more\n", "…"));
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::testing::{attempt, failed};

    #[test]
    fn every_result_has_its_level() {
        let passed = |us| Attempt { us, ..attempt("t", Outcome::Passed) };
        let flaky = Attempt { earlier: vec![Outcome::Failed], ..passed(1) };
        let levels = [failed("t"), flaky, passed(2_000_000), passed(1), attempt("t", Outcome::Skipped)];
        assert_eq!(
            levels.map(|a| level(&a, 1_000)),
            [StatusLevel::Fail, StatusLevel::Retry, StatusLevel::Slow, StatusLevel::Pass, StatusLevel::Skip]
        );
    }

    #[test]
    fn failures_come_last_and_too_many_are_counted() {
        let mut finale = Finale::new(StatusLevel::Retry);
        for n in 0..FAILURES + 3 {
            finale.keep(StatusLevel::Fail, || format!("fail {n}\n"));
        }
        finale.keep(StatusLevel::Retry, || "flaky\n".into());
        finale.keep(StatusLevel::Pass, || panic!("not wanted"));
        let text = finale.text();
        assert!(text.starts_with("flaky\nfail 0\n") && text.ends_with("fail 199\n           … and 3 more\n"), "{text}");
        let mut nothing = Finale::new(StatusLevel::None);
        nothing.keep(StatusLevel::Fail, || panic!("not wanted"));
        assert_eq!(nothing.text(), "");
    }
}
