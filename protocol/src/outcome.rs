//! How an attempt ended, as one letter in Redis and one word for people.

use serde::{Deserialize, Serialize};

/// The result of one attempt, or of a task that never ran.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// The test passed (an expected failure counts as skipped, an unexpected pass as passed).
    Passed,
    /// The test's own assertion or command failed.
    Failed,
    /// Set-up or teardown failed, or the process ended under the test.
    Errored,
    /// Killed at its timeout.
    TimedOut,
    /// Lost with its worker more often than allowed.
    Lost,
    /// Skipped by the framework or because a needed group failed.
    Skipped,
    /// Cancelled with its job.
    Cancelled,
}

impl Outcome {
    /// Every outcome, in the order in which summaries list them.
    pub const ALL: [Outcome; 7] =
        [Self::Passed, Self::Failed, Self::Errored, Self::TimedOut, Self::Lost, Self::Skipped, Self::Cancelled];

    /// The letter that stands for it in records and events.
    #[must_use]
    pub fn letter(self) -> char {
        match self {
            Self::Passed => 'P',
            Self::Failed => 'F',
            Self::Errored => 'E',
            Self::TimedOut => 'T',
            Self::Lost => 'L',
            Self::Skipped => 'S',
            Self::Cancelled => 'C',
        }
    }

    /// The outcome of a letter, if it is one.
    #[must_use]
    pub fn from_letter(letter: char) -> Option<Self> {
        Self::ALL.into_iter().find(|o| o.letter() == letter)
    }

    /// The word shown to people.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed => "failed",
            Self::Errored => "errored",
            Self::TimedOut => "timed out",
            Self::Lost => "lost",
            Self::Skipped => "skipped",
            Self::Cancelled => "cancelled",
        }
    }

    /// Whether this outcome makes a run fail (and is worth a retry).
    #[must_use]
    pub fn is_failure(self) -> bool {
        matches!(self, Self::Failed | Self::Errored | Self::TimedOut)
    }
}

/// Titles of the sections with what a runner printed past its framework's capture, on stdout and on stderr.
pub const UNCAPTURED: [&str; 2] = ["Uncaptured stdout", "Uncaptured stderr"];

/// Failed, as expected of it: skipped, in our words.
pub const XFAILED: &str = "xfailed";
/// Passed, although expected to fail: passed, in our words.
pub const XPASSED: &str = "xpassed";

/// Property of a collection whose suite wants it seen at once what tests print past the framework's capture.
pub const LIVE: &str = "live";

/// What an attempt leaves behind besides its outcome. Stored as JSON; every field may be absent.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Detail {
    /// One line that says why.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// The framework's own long text (a traceback).
    #[serde(skip_serializing_if = "String::is_empty")]
    pub text: String,
    /// `setup`, `call` or `teardown`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub when: String,
    /// Why it was skipped or expected to fail.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// Titled output: captured stdout, stderr, logs.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sections: Vec<(String, String)>,
    /// Source location, `file:line`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub location: String,
    /// Exit code of the attempt's process, where it had one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit: Option<i32>,
    /// Signal that ended the attempt's process, where one did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signal: Option<i32>,
    /// Bytes of output that were not kept.
    #[serde(skip_serializing_if = "is_zero")]
    pub dropped_bytes: u64,
    /// Sections whose text is not what was printed, because that is no UTF-8: title, and each byte as the character of its
    /// number.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub raw: Vec<(String, String)>,
    /// The whole output in files: `stdout` or `stderr`, and the name of a file in the private folder of an embedded run.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<(String, String)>,
    /// Why the output that was wanted whole is not.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub cut: String,
    /// Parts of the test that report for themselves: name, outcome word, text.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub subtests: Vec<(String, String, String)>,
    /// User properties for JUnit.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub properties: Vec<(String, String)>,
    /// The framework's own word where ours is coarser: [`XFAILED`], [`XPASSED`].
    #[serde(skip_serializing_if = "String::is_empty")]
    pub word: String,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference")]
fn is_zero(n: &u64) -> bool {
    *n == 0
}

impl Detail {
    /// Keeps what a section was before it became text.
    pub fn keep_raw(&mut self, title: &str, bytes: &[u8]) {
        self.raw.push((title.to_owned(), bytes.iter().map(|&byte| char::from(byte)).collect()));
    }

    /// Sections as they were printed, byte for byte where that is known.
    pub fn printed(&self) -> impl Iterator<Item = (&str, Vec<u8>)> {
        self.sections.iter().map(|(title, text)| {
            let raw = self.raw.iter().find(|(of, _)| of == title);
            let bytes = raw.map(|(_, raw)| raw.chars().filter_map(|c| u8::try_from(u32::from(c)).ok()).collect());
            (title.as_str(), bytes.unwrap_or_else(|| text.clone().into_bytes()))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_that_are_no_text_come_back_as_they_were() {
        let all: Vec<u8> = (0..=255).collect();
        let sections = vec![("stdout".into(), "?".into()), ("stderr".into(), "ä".into())];
        let mut detail = Detail { sections, ..Detail::default() };
        detail.keep_raw("stdout", &all);
        let again: Detail = serde_json::from_str(&serde_json::to_string(&detail).unwrap()).unwrap();
        let printed: Vec<_> = again.printed().collect();
        assert_eq!(printed, [("stdout", all), ("stderr", "ä".as_bytes().to_vec())]);
    }
}
