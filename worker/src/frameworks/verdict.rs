//! A test's result, and how the runner protocol says it. Pure.

use serde_json::{Value, json};

/// What the daemon calls the price of a process's start.
pub(crate) const STARTUP: &str = "start-up";

/// A test's result.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Verdict {
    /// A word of the runner protocol.
    pub(super) outcome: &'static str,
    pub(super) message: String,
    pub(super) text: String,
    pub(super) reason: String,
    pub(super) location: String,
    pub(super) sections: Vec<(String, String)>,
    /// Name, outcome, text.
    pub(super) subtests: Vec<(String, String, String)>,
    /// As the framework says; else as long as we saw it run.
    pub(super) us: Option<f64>,
    /// What of that was the process's start, if its reader can tell, µs.
    pub(super) startup_us: f64,
    /// Kept apart from other outcomes: `flaky`.
    pub(super) word: &'static str,
}

impl Verdict {
    pub(super) fn new(outcome: &'static str) -> Self {
        Self { outcome, ..Self::default() }
    }

    pub(super) fn errored(message: impl Into<String>) -> Self {
        Self { message: message.into(), ..Self::new("errored") }
    }

    pub(super) fn is_failure(&self) -> bool {
        matches!(self.outcome, "failed" | "errored" | "timed_out")
    }
}

/// A result in the words of the runner protocol.
pub(super) fn result(test: u32, verdict: &Verdict, us: f64) -> Value {
    let mut message = json!({"type": "result", "test": test, "outcome": verdict.outcome, "us": [0.0, us, 0.0]});
    if verdict.startup_us > 0.0 {
        message["wide"] = json!([[STARTUP, verdict.startup_us]]);
    }
    let mut detail = json!({});
    for (name, text) in [("message", &verdict.message), ("longrepr", &verdict.text), ("reason", &verdict.reason)] {
        if !text.is_empty() {
            detail[name] = text.as_str().into();
        }
    }
    if !verdict.location.is_empty() {
        detail["location"] = json!({"file": verdict.location});
    }
    if !verdict.word.is_empty() {
        detail["word"] = verdict.word.into();
    }
    if !verdict.sections.is_empty() {
        detail["sections"] = json!(verdict.sections);
    }
    if !verdict.subtests.is_empty() {
        let parts = verdict.subtests.iter();
        detail["subtests"] =
            parts.map(|(name, outcome, text)| json!({"name": name, "outcome": outcome, "longrepr": text})).collect();
    }
    if detail.as_object().is_some_and(|d| !d.is_empty()) {
        message["detail"] = detail;
    }
    message
}
