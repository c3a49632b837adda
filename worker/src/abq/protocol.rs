//! The messages of the ABQ native-runner protocol 0.2, and what they mean in the words of our runner protocol. Pure.

use serde::Deserialize;
use serde_json::{Map, Value, json};

/// The version that is spoken here.
const VERSION: (u64, u64) = (0, 2);
/// Longest text that becomes a headline.
const HEADLINE: usize = 4096;

/// One test of a flattened manifest.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Test {
    pub(super) id: String,
    pub(super) meta: Map<String, Value>,
    pub(super) file: String,
    pub(super) scope: String,
}

/// What collecting found.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Manifest {
    pub(super) tests: Vec<Test>,
    pub(super) init_meta: Map<String, Value>,
    /// Errors that the adapter told beside the tests.
    pub(super) notes: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Member {
    Test {
        id: String,
        #[serde(default)]
        meta: Option<Map<String, Value>>,
    },
    Group {
        #[serde(default)]
        name: String,
        members: Vec<Member>,
        #[serde(default)]
        meta: Option<Map<String, Value>>,
    },
}

#[derive(Debug, Deserialize)]
struct ManifestData {
    members: Vec<Member>,
    #[serde(default)]
    init_meta: Option<Map<String, Value>>,
}

#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Collected {
    ManifestSuccess {
        manifest: ManifestData,
        #[serde(default)]
        other_errors: Option<Vec<OutOfBand>>,
    },
    ManifestFailure {
        error: OutOfBand,
        #[serde(default)]
        other_errors: Option<Vec<OutOfBand>>,
    },
}

#[derive(Clone, Debug, Default, Deserialize)]
struct OutOfBand {
    #[serde(default)]
    message: String,
    #[serde(default)]
    backtrace: Option<Vec<String>>,
    #[serde(default)]
    exception: Option<String>,
    #[serde(default)]
    location: Option<Location>,
}

#[derive(Clone, Debug, Deserialize)]
struct Location {
    file: String,
    #[serde(default)]
    line: Option<u64>,
}

/// A result of one test.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct TestResult {
    status: Status,
    id: String,
    #[serde(default)]
    display_name: Option<String>,
    /// Nanoseconds.
    #[serde(default)]
    runtime: Option<f64>,
    #[serde(default)]
    output: Option<String>,
    #[serde(default)]
    location: Option<Location>,
    #[serde(default)]
    lineage: Option<Vec<String>>,
    #[serde(default)]
    past_attempts: Option<Vec<TestResult>>,
    #[serde(default)]
    other_errors: Option<Vec<OutOfBand>>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Status {
    Failure {
        #[serde(default)]
        exception: Option<String>,
        #[serde(default)]
        backtrace: Option<Vec<String>>,
    },
    Success,
    Error {
        #[serde(default)]
        exception: Option<String>,
        #[serde(default)]
        backtrace: Option<Vec<String>>,
    },
    Pending,
    Skipped,
    Todo,
    TimedOut,
    #[serde(other)]
    Unknown,
}

/// What a native runner sends for a test.
#[derive(Clone, Debug)]
pub(super) enum Answer {
    /// All results.
    Done(Vec<TestResult>),
    /// One of several; more follow.
    Part(Box<TestResult>),
}

/// Reads the first message: the adapter's own description.
pub(super) fn greeting(message: &Value) -> Result<Value, String> {
    let version = message.get("protocol_version").unwrap_or(message);
    let number = |name: &str| version.get(name).and_then(Value::as_u64);
    let (Some(major), Some(minor)) = (number("major"), number("minor")) else {
        return Err(format!("sent something else than its first message: {}", start_of(message)));
    };
    if (major, minor) != VERSION {
        return Err(format!(
            "speaks version {major}.{minor} of the ABQ protocol; Remuda speaks {}.{}",
            VERSION.0, VERSION.1
        ));
    }
    Ok(message.get("runner_specification").cloned().unwrap_or(Value::Null))
}

/// Reads a manifest. `Err`: headline and long text.
pub(super) fn manifest(message: Value) -> Result<Manifest, (String, String)> {
    let start = start_of(&message);
    match serde_json::from_value(message) {
        Ok(Collected::ManifestSuccess { manifest, other_errors }) => {
            let mut tests = Vec::new();
            flatten(manifest.members, &[], None, &mut tests);
            let notes = other_errors.unwrap_or_default().iter().map(told).collect();
            Ok(Manifest { tests, init_meta: manifest.init_meta.unwrap_or_default(), notes })
        }
        Ok(Collected::ManifestFailure { error, other_errors }) => {
            let all: Vec<String> = [error.clone()].iter().chain(other_errors.iter().flatten()).map(told).collect();
            let headline =
                if error.message.is_empty() { "the adapter could not collect" } else { first_line(&error.message) };
            Err((headline.to_owned(), all.join("\n\n")))
        }
        Err(error) => Err((format!("the ABQ adapter sent no manifest ({error}): {start}"), String::new())),
    }
}

/// Depth first, in the manifest's own order.
fn flatten(members: Vec<Member>, groups: &[String], file: Option<&str>, out: &mut Vec<Test>) {
    for member in members {
        match member {
            Member::Test { id, meta } => {
                let meta = meta.unwrap_or_default();
                let file = file_in(&meta)
                    .or_else(|| file.map(str::to_owned))
                    .unwrap_or_else(|| id.split("::").next().unwrap_or(&id).to_owned());
                let scope = if groups.is_empty() { scope_in(&id, &file) } else { groups.join(" ") };
                out.push(Test { id, meta, file, scope });
            }
            Member::Group { name, members, meta } => {
                let own = meta.as_ref().and_then(file_in);
                let groups: Vec<String> = groups.iter().cloned().chain([name]).collect();
                flatten(members, &groups, own.as_deref().or(file), out);
            }
        }
    }
}

fn file_in(meta: &Map<String, Value>) -> Option<String> {
    ["file", "file_path", "path"].iter().find_map(|name| meta.get(*name)?.as_str()).map(str::to_owned)
}

/// `file::Class` of `file::Class::test[a::b]`.
fn scope_in(id: &str, file: &str) -> String {
    let plain = id.split('[').next().unwrap_or(id);
    plain.rfind("::").map_or_else(|| file.to_owned(), |at| plain[..at].to_owned())
}

/// Reads an answer to a test.
pub(super) fn answer(message: &Value) -> Result<Answer, String> {
    let one = |name: &str| message.get(name).filter(|v| !v.is_null()).map(TestResult::deserialize);
    let wrong =
        |error: serde_json::Error| format!("sent a result that cannot be read ({error}): {}", start_of(message));
    match message.get("type").and_then(Value::as_str) {
        Some("incremental_result") => {
            let result =
                one("one_test_result").ok_or_else(|| format!("sent a result without one: {}", start_of(message)))?;
            result.map(|r| Answer::Part(Box::new(r))).map_err(wrong)
        }
        Some("incremental_result_done") => {
            one("last_test_result").transpose().map(|last| Answer::Done(last.into_iter().collect())).map_err(wrong)
        }
        _ => {
            if let Some(result) = one("test_result") {
                return result.map(|r| Answer::Done(vec![r])).map_err(wrong);
            }
            let many = message.get("test_results").map(Vec::<TestResult>::deserialize);
            many.ok_or_else(|| format!("sent something else than a result: {}", start_of(message)))?
                .map(Answer::Done)
                .map_err(wrong)
        }
    }
}

/// What is asked of an adapter for a test.
pub(super) fn test_case(test: &Test) -> Value {
    json!({"test_case": {"id": test.id, "meta": test.meta}})
}

/// What is sent before the first test.
pub(super) fn init(manifest: &Manifest) -> Value {
    json!({"init_meta": manifest.init_meta, "fast_exit": false})
}

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

fn told(error: &OutOfBand) -> String {
    let place =
        error.location.as_ref().map(|l| l.line.map_or_else(|| l.file.clone(), |line| format!("{}:{line}", l.file)));
    let exception = error.exception.clone().filter(|e| !error.message.contains(e.as_str()));
    [Some(error.message.clone()), exception, place]
        .into_iter()
        .flatten()
        .chain(error.backtrace.clone().unwrap_or_default())
        .collect::<Vec<_>>()
        .join("\n")
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or("")
}

fn start_of(message: &Value) -> String {
    crate::bridge::wire::shown(message.to_string().as_bytes())
}

#[cfg(test)]
#[path = "protocol_tests.rs"]
mod tests;
