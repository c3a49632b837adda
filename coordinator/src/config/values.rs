//! The kinds of values that settings have: how each is read from text and from TOML, and how it is shown.
//!
//! One trait, so that a flag, a variable and a key of a file accept and refuse the same things.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::ValueEnum;
use toml::de::DeValue;

use crate::cli::{Annotations, GroupByArg, IsolationArg, OnDisconnect, StatusLevel};

/// A kind of value.
pub trait Value: Sized {
    /// What it is, for people: `expected …`.
    const WHAT: &'static str;
    /// From a variable.
    ///
    /// # Errors
    /// What is wrong with the text.
    fn from_text(text: &str) -> Result<Self, String>;
    /// From a file; `None` if it has the wrong type.
    fn from_toml(value: &DeValue<'_>) -> Option<Result<Self, String>> {
        value.as_str().map(Self::from_text)
    }
    /// As the user would write it.
    fn show(&self) -> String;
}

/// A length of time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(pub Duration);

impl Span {
    /// In ms.
    #[must_use]
    pub fn ms(self) -> u64 {
        u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX)
    }
}

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not a time; write 90s, 5m, 1h30m or 250ms");
        let mut rest = text.trim();
        if rest.is_empty() {
            return Err(wrong());
        }
        let mut total = Duration::ZERO;
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
            let number: f64 = rest[..digits].parse().map_err(|_| wrong())?;
            let unit_end = rest[digits..].find(|c: char| !c.is_ascii_alphabetic()).map_or(rest.len(), |i| digits + i);
            let seconds = match &rest[digits..unit_end] {
                "ms" => 0.001,
                // a bare number is seconds, but only alone: `1h30` would be a riddle
                "" if digits == text.trim().len() => 1.0,
                "s" | "sec" => 1.0,
                "m" | "min" => 60.0,
                "h" => 3600.0,
                "d" => 86_400.0,
                _ => return Err(wrong()),
            };
            total = Duration::try_from_secs_f64(number * seconds)
                .ok()
                .and_then(|d| total.checked_add(d))
                .ok_or_else(wrong)?;
            rest = &rest[unit_end..];
        }
        Ok(Self(total))
    }
}

impl Value for Span {
    const WHAT: &'static str = "a time such as \"90s\" or \"5m\"";

    fn from_text(text: &str) -> Result<Self, String> {
        text.parse()
    }

    fn from_toml(value: &DeValue<'_>) -> Option<Result<Self, String>> {
        match value {
            DeValue::Integer(n) => Some(Self::from_text(n.as_str())),
            _ => value.as_str().map(Self::from_text),
        }
    }

    fn show(&self) -> String {
        let ms = self.ms();
        match ms {
            _ if !ms.is_multiple_of(1000) => format!("{ms}ms"),
            _ if ms > 0 && ms.is_multiple_of(3_600_000) => format!("{}h", ms / 3_600_000),
            _ if ms > 0 && ms.is_multiple_of(60_000) => format!("{}m", ms / 60_000),
            _ => format!("{}s", ms / 1000),
        }
    }
}

/// How many places to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slots {
    /// One for each processor.
    Auto,
    /// So many.
    Count(u32),
}

impl Slots {
    /// The number on this machine.
    #[must_use]
    pub fn here(self) -> u32 {
        match self {
            Self::Count(n) => n,
            Self::Auto => std::thread::available_parallelism().map_or(1, |n| u32::try_from(n.get()).unwrap_or(1)),
        }
    }
}

impl FromStr for Slots {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" | "logical" => Ok(Self::Auto),
            _ => text
                .parse()
                .ok()
                .filter(|&n| n > 0 && n <= 10_000)
                .map(Self::Count)
                .ok_or_else(|| format!("`{text}` is neither a number from 1 nor auto")),
        }
    }
}

impl Value for Slots {
    const WHAT: &'static str = "a number from 1, or \"auto\"";

    fn from_text(text: &str) -> Result<Self, String> {
        text.parse()
    }

    fn from_toml(value: &DeValue<'_>) -> Option<Result<Self, String>> {
        match value {
            DeValue::Integer(n) => Some(Self::from_text(n.as_str())),
            _ => value.as_str().map(Self::from_text),
        }
    }

    fn show(&self) -> String {
        match self {
            Self::Auto => "auto".into(),
            Self::Count(n) => n.to_string(),
        }
    }
}

macro_rules! integers {
    ($($kind:ty: $what:literal),*) => {$(
        impl Value for $kind {
            const WHAT: &'static str = $what;
            fn from_text(text: &str) -> Result<Self, String> {
                text.parse().map_err(|_| format!("`{text}` is not {}", Self::WHAT))
            }
            fn from_toml(value: &DeValue<'_>) -> Option<Result<Self, String>> {
                match value {
                    DeValue::Integer(n) => Some(Self::from_text(n.as_str())),
                    _ => None,
                }
            }
            fn show(&self) -> String {
                self.to_string()
            }
        }
    )*};
}
integers!(u32: "a whole number from 0", usize: "a whole number from 0", i32: "a whole number");

macro_rules! words {
    ($($kind:ty: $what:literal),*) => {$(
        impl Value for $kind {
            const WHAT: &'static str = $what;
            fn from_text(text: &str) -> Result<Self, String> {
                <Self as ValueEnum>::from_str(text, false).map_err(|_| format!("`{text}` is not {}", Self::WHAT))
            }
            fn show(&self) -> String {
                self.to_possible_value().map(|v| v.get_name().to_owned()).unwrap_or_default()
            }
        }
    )*};
}
words!(
    Annotations: "\"github\"",
    StatusLevel: "\"none\", \"fail\", \"retry\", \"slow\", \"pass\", \"skip\" or \"all\""
);
words!(IsolationArg: "\"slot\" or \"test\"", GroupByArg: "\"test\", \"class\" or \"file\"", OnDisconnect: "\"cancel\" or \"detach\"");

impl Value for String {
    const WHAT: &'static str = "a text in quotes";

    fn from_text(text: &str) -> Result<Self, String> {
        Ok(text.to_owned())
    }

    fn show(&self) -> String {
        self.clone()
    }
}

impl Value for PathBuf {
    const WHAT: &'static str = "a path in quotes";

    fn from_text(text: &str) -> Result<Self, String> {
        if text.is_empty() { Err("an empty text is not a path".into()) } else { Ok(text.into()) }
    }

    fn show(&self) -> String {
        self.display().to_string()
    }
}

impl Value for bool {
    const WHAT: &'static str = "true or false";

    fn from_text(text: &str) -> Result<Self, String> {
        match text {
            "1" | "true" | "yes" => Ok(true),
            "0" | "false" | "no" | "" => Ok(false),
            _ => Err(format!("`{text}` is neither true nor false")),
        }
    }

    fn from_toml(value: &DeValue<'_>) -> Option<Result<Self, String>> {
        value.as_bool().map(Ok)
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

impl Value for Vec<String> {
    const WHAT: &'static str = "a list of texts: [\"a\", \"b\"]";

    fn from_text(text: &str) -> Result<Self, String> {
        Ok(text.split(',').filter(|word| !word.is_empty()).map(str::to_owned).collect())
    }

    fn from_toml(value: &DeValue<'_>) -> Option<Result<Self, String>> {
        let words: Option<Vec<String>> =
            value.as_array()?.iter().map(|v| v.get_ref().as_str().map(str::to_owned)).collect();
        words.map(Ok)
    }

    fn show(&self) -> String {
        self.join(",")
    }
}

/// Variables by name, with a value or to be taken from the submitter's own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Variables(pub Vec<String>);

impl Value for Variables {
    const WHAT: &'static str = "a list [\"NAME\", \"NAME=VALUE\"] or a table { NAME = \"VALUE\" }";

    fn from_text(text: &str) -> Result<Self, String> {
        Vec::from_text(text).map(Self)
    }

    fn from_toml(value: &DeValue<'_>) -> Option<Result<Self, String>> {
        let Some(table) = value.as_table() else { return Some(Vec::from_toml(value)?.map(Self)) };
        let pair = |(k, v): (&toml::Spanned<toml::de::DeString<'_>>, &toml::Spanned<DeValue<'_>>)| {
            v.get_ref().as_str().map(|v| format!("{}={v}", k.get_ref()))
        };
        table.iter().map(pair).collect::<Option<Vec<_>>>().map(Self).map(Ok)
    }

    fn show(&self) -> String {
        self.0.join(",")
    }
}

/// A command as it may be written: one line, or words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CommandText {
    /// A line: words if it has no shell characters.
    Line(String),
    /// Words as they are.
    Words(Vec<String>),
}

impl CommandText {
    /// Its words, for what is no shell's business.
    #[must_use]
    pub fn words(&self) -> Vec<String> {
        match self {
            Self::Line(line) => line.split_whitespace().map(str::to_owned).collect(),
            Self::Words(words) => words.clone(),
        }
    }
}

impl Value for CommandText {
    const WHAT: &'static str = "a command: \"make check\" or [\"make\", \"check\"]";

    fn from_text(text: &str) -> Result<Self, String> {
        if text.trim().is_empty() { Err("the command is empty".into()) } else { Ok(Self::Line(text.to_owned())) }
    }

    fn from_toml(value: &DeValue<'_>) -> Option<Result<Self, String>> {
        if let Some(line) = value.as_str() {
            return Some(Self::from_text(line));
        }
        let words = Vec::from_toml(value)?;
        Some(words.and_then(|w| if w.is_empty() { Err("the command is empty".into()) } else { Ok(Self::Words(w)) }))
    }

    fn show(&self) -> String {
        match self {
            Self::Line(line) => line.clone(),
            Self::Words(words) => words.join(" "),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_people_write_them() {
        for (text, ms) in
            [("90s", 90_000), ("5m", 300_000), ("1h30m", 5_400_000), ("250ms", 250), ("7", 7_000), ("0.5s", 500)]
        {
            assert_eq!(text.parse::<Span>().unwrap().ms(), ms, "{text}");
        }
        for text in ["", "m", "5x", "1h30", "-3s", "1e9d"] {
            text.parse::<Span>().unwrap_err();
        }
    }

    #[test]
    fn times_are_shown_in_their_largest_whole_unit() {
        for text in ["5m", "2h", "90s", "250ms", "0s"] {
            assert_eq!(text.parse::<Span>().unwrap().show(), text);
        }
    }

    #[test]
    fn no_slots_at_all_is_refused() {
        assert_eq!("0".parse::<Slots>().unwrap_err(), "`0` is neither a number from 1 nor auto");
        assert_eq!("auto".parse::<Slots>().unwrap(), Slots::Auto);
    }
}
