//! What an ABQ adapter's results mean in the words of our runner protocol. Pure; the messages are `protocol.rs`'s.

use serde_json::{Value, json};

use super::protocol::{Status, TestResult, first_line, told};

/// Longest text that becomes a headline.
const HEADLINE: usize = 4096;

impl TestResult {
    fn word(&self) -> &'static str {
        match self.status {
            Status::Success => "passed",
            Status::Failure { .. } => "failed",
            Status::Pending | Status::Skipped | Status::Todo => "skipped",
            Status::TimedOut => "timed_out",
            Status::Error { .. } | Status::Unknown => "errored",
        }
    }

    /// How much it says about the whole; the largest speaks.
    fn weight(&self) -> u8 {
        ["skipped", "passed", "failed", "timed_out", "errored"]
            .iter()
            .position(|w| *w == self.word())
            .map_or(0, |at| u8::try_from(at).unwrap_or(0))
    }

    fn exception(&self) -> (&str, String) {
        match &self.status {
            Status::Failure { exception, backtrace } | Status::Error { exception, backtrace } => {
                (exception.as_deref().unwrap_or(""), backtrace.as_deref().unwrap_or_default().join("\n"))
            }
            _ => ("", String::new()),
        }
    }

    fn failed(&self) -> bool {
        self.weight() > 1
    }

    fn output(&self) -> &str {
        self.output.as_deref().unwrap_or("")
    }

    /// The long text: the adapter's own backtrace; an adapter that has none tells the failure as output.
    fn long(&self) -> String {
        let (exception, backtrace) = self.exception();
        match (backtrace.is_empty(), exception.is_empty()) {
            (false, true) => backtrace,
            (false, false) if backtrace.contains(exception) => backtrace,
            (false, false) => format!("{exception}\n{backtrace}"),
            (true, false) => exception.to_owned(),
            (true, true) if self.failed() => self.output().to_owned(),
            (true, true) => String::new(),
        }
    }

    fn message(&self) -> String {
        if !self.failed() {
            return String::new();
        }
        let long = self.long();
        // pytest marks the lines that say what went wrong
        let marked = long.lines().find_map(|line| line.strip_prefix("E  ")).map(str::trim);
        let first = marked.unwrap_or_else(|| first_line(long.trim_start()));
        match (&self.status, first) {
            (Status::TimedOut, _) => "timed out, says the adapter".to_owned(),
            (Status::Unknown, _) => "the adapter answered with a status that is none of the ABQ protocol's".to_owned(),
            (_, "") => "failed; the adapter does not say why".to_owned(),
            (_, first) => first.chars().take(HEADLINE).collect(),
        }
    }

    fn name(&self) -> &str {
        self.display_name.as_deref().filter(|n| !n.is_empty()).unwrap_or(&self.id)
    }

    fn sections(&self, several: bool) -> Vec<(String, String)> {
        let mut found = Vec::new();
        let of = |title: &str| if several { format!("{title} of {}", self.name()) } else { title.to_owned() };
        let told_already = self.failed() && self.long() == self.output();
        if !self.output().is_empty() && !told_already {
            found.push((of("output"), self.output().to_owned()));
        }
        for error in self.other_errors.iter().flatten() {
            found.push((of("another error"), told(error)));
        }
        for (n, past) in self.past_attempts.iter().flatten().enumerate() {
            found.push((of(&format!("attempt {} by the adapter", n + 1)), format!("{}: {}", past.word(), past.long())));
        }
        found
    }
}

/// Our `result` for the answers to test number `test`; `foreign` tells whether an id is another test's.
pub(super) fn result(test: u32, asked: &str, answers: &[TestResult], foreign: impl Fn(&str) -> bool) -> Value {
    let Some(worst) = answers.iter().rev().max_by_key(|a| a.weight()) else {
        return errored(test, "errored", "the ABQ adapter answered without a result", answers, 0.0);
    };
    let several = answers.len() > 1;
    let mut detail = json!({"sections": answers.iter().flat_map(|a| a.sections(several)).collect::<Vec<_>>()});
    let mut outcome = worst.word();
    let mut set = |name: &str, value: Value| detail[name] = value;
    match (outcome, &worst.status) {
        ("passed", _) => {}
        ("skipped", Status::Pending) => set("reason", "pending".into()),
        ("skipped", Status::Todo) => set("reason", "to do".into()),
        ("skipped", _) => set("reason", first_line(worst.output()).into()),
        _ => {
            set("message", worst.message().into());
            set("longrepr", worst.long().into());
            set("when", "call".into());
        }
    }
    if let Some(location) = worst.location.as_ref().filter(|_| worst.failed()) {
        set("location", json!({"file": location.file, "line": location.line}));
    }
    if several {
        set("subtests", subtests(answers));
    }
    if let [only] = answers
        && only.id != asked
        && foreign(&only.id)
    {
        outcome = "errored";
        set("message", format!("the ABQ adapter answered for another test: {}", only.id).into());
    }
    let us: f64 = answers.iter().filter_map(|a| a.runtime).sum::<f64>() / 1e3;
    let mut result = json!({"type": "result", "test": test, "outcome": outcome, "us": [0.0, us, 0.0]});
    let tells =
        detail["sections"].as_array().is_some_and(|s| !s.is_empty()) || detail.as_object().is_some_and(|d| d.len() > 1);
    if tells {
        result["detail"] = detail;
    }
    result
}

/// Our `result` for a test that did not get its answer, with the parts of one that came.
pub(super) fn errored(test: u32, outcome: &str, message: &str, parts: &[TestResult], us: f64) -> Value {
    let sections: Vec<_> = parts.iter().flat_map(|a| a.sections(true)).collect();
    json!({
        "type": "result", "test": test, "outcome": outcome, "us": [0.0, us, 0.0],
        "detail": {"message": message, "when": "call", "sections": sections, "subtests": subtests(parts)},
    })
}

fn subtests(answers: &[TestResult]) -> Value {
    let one = |a: &TestResult| {
        let lineage = a.lineage.as_deref().unwrap_or_default().join(" ");
        let name = if lineage.is_empty() { a.name().to_owned() } else { format!("{lineage} {}", a.name()) };
        json!({"name": name, "outcome": a.word(), "message": a.message(), "longrepr": a.long()})
    };
    answers.iter().map(one).collect()
}
