//! The messages of the ABQ native-runner protocol 0.2. What results mean in our words is `verdict.rs`'s. Pure.

use serde::Deserialize;
use serde_json::{Map, Value, json};

/// The version that is spoken here.
const VERSION: (u64, u64) = (0, 2);

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
pub(super) struct OutOfBand {
    #[serde(default)]
    pub(super) message: String,
    #[serde(default)]
    pub(super) backtrace: Option<Vec<String>>,
    #[serde(default)]
    pub(super) exception: Option<String>,
    #[serde(default)]
    pub(super) location: Option<Location>,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Location {
    pub(super) file: String,
    #[serde(default)]
    pub(super) line: Option<u64>,
}

/// A result of one test.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct TestResult {
    pub(super) status: Status,
    pub(super) id: String,
    #[serde(default)]
    pub(super) display_name: Option<String>,
    /// Nanoseconds.
    #[serde(default)]
    pub(super) runtime: Option<f64>,
    #[serde(default)]
    pub(super) output: Option<String>,
    #[serde(default)]
    pub(super) location: Option<Location>,
    #[serde(default)]
    pub(super) lineage: Option<Vec<String>>,
    #[serde(default)]
    pub(super) past_attempts: Option<Vec<TestResult>>,
    #[serde(default)]
    pub(super) other_errors: Option<Vec<OutOfBand>>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Status {
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

pub(super) fn told(error: &OutOfBand) -> String {
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

pub(super) fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or("")
}

fn start_of(message: &Value) -> String {
    crate::bridge::wire::shown(message.to_string().as_bytes())
}

#[cfg(test)]
#[path = "protocol_tests.rs"]
mod tests;
