//! What `test2json` says of go's tests, as it comes: results, what each printed, and its subtests. Pure.

use std::collections::{BTreeMap, HashMap};

use serde::Deserialize;

use super::{Ending, Event, Reader, Verdict, libtest};
use crate::adapter::command::clipped;
use crate::bridge::ended_how;

/// What is left of a test that fails and says nothing.
const SILENT: &str = "FAIL";

/// A line of test2json.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Line {
    action: String,
    test: String,
    output: String,
    elapsed: f64,
}

impl Default for Line {
    fn default() -> Self {
        Self { action: String::new(), test: String::new(), output: String::new(), elapsed: 0.0 }
    }
}

/// Reads test2json.
#[derive(Debug)]
pub(super) struct Json {
    positions: HashMap<String, u32>,
    buffer: Vec<u8>,
    /// What each test that has begun printed, and its subtests.
    running: BTreeMap<String, Running>,
    /// What no test printed.
    loose: String,
    failed: bool,
    /// The last test that ended is held back until the next thing comes: what the process says at its end is its.
    last: Option<(u32, Verdict)>,
}

#[derive(Debug, Default)]
struct Running {
    printed: String,
    /// Name, outcome, what was printed.
    parts: Vec<(String, String, String)>,
}

impl Json {
    pub(super) fn new(tests: impl IntoIterator<Item = (String, u32)>) -> Self {
        Self {
            positions: tests.into_iter().collect(),
            buffer: Vec::new(),
            running: BTreeMap::new(),
            loose: String::new(),
            failed: false,
            last: None,
        }
    }

    fn line(&mut self, bytes: &[u8], events: &mut Vec<Event>) {
        let Ok(line) = serde_json::from_slice::<Line>(bytes) else {
            self.loose.push_str(&String::from_utf8_lossy(bytes));
            return;
        };
        let (test, part) = line.test.split_once('/').unwrap_or((&line.test, ""));
        let Some(&position) = self.positions.get(test) else {
            self.loose.push_str(&line.output);
            return;
        };
        let running = self.running.entry(test.to_owned()).or_default();
        match (line.action.as_str(), part) {
            ("run" | "cont", "") => {
                events.extend(self.last.take().map(|(test, verdict)| Event::Ended(test, verdict)));
                events.push(Event::Started(position));
            }
            ("output", _) => {
                let told = line.output.trim_start();
                let frame = ["=== RUN", "=== PAUSE", "=== CONT", "=== NAME", "--- PASS", "--- FAIL", "--- SKIP"];
                if frame.iter().any(|f| told.starts_with(f)) {
                    return;
                }
                let mut text = std::mem::take(&mut running.printed).into_bytes();
                libtest::keep(&mut text, line.output.as_bytes());
                running.printed = String::from_utf8_lossy(&text).into_owned();
                if let Some(at) = running.parts.iter_mut().find(|p| p.0 == part) {
                    at.2.push_str(&line.output);
                } else if !part.is_empty() {
                    running.parts.push((part.to_owned(), String::new(), line.output));
                }
            }
            ("pass" | "fail" | "skip", "") => {
                let verdict = ended(&line, self.running.remove(test).unwrap_or_default());
                self.failed |= verdict.is_failure();
                if let Some((test, verdict)) = self.last.replace((position, verdict)) {
                    events.push(Event::Ended(test, verdict));
                }
            }
            (word @ ("pass" | "fail" | "skip"), _) => {
                let outcome = outcome(word).to_owned();
                match running.parts.iter_mut().find(|p| p.0 == part) {
                    Some(at) => at.1 = outcome,
                    None => running.parts.push((part.to_owned(), outcome, String::new())),
                }
            }
            _ => {}
        }
    }
}

fn outcome(word: &str) -> &'static str {
    match word {
        "pass" => "passed",
        "skip" => "skipped",
        _ => "failed",
    }
}

/// `    sums_test.go:19: two and two: 4`: where, and what.
fn told_at(printed: &str) -> Option<(String, String)> {
    printed.lines().find_map(|line| {
        let (place, said) = line.trim().split_once(": ")?;
        let (file, number) = place.rsplit_once(':')?;
        (file.ends_with(".go") && number.parse::<u32>().is_ok()).then(|| (place.to_owned(), said.to_owned()))
    })
}

fn ended(line: &Line, running: Running) -> Verdict {
    let outcome = outcome(&line.action);
    let mut verdict = Verdict { us: (line.elapsed > 0.0).then_some(line.elapsed * 1e6), ..Verdict::new(outcome) };
    let panic = running.printed.lines().find(|l| l.starts_with("panic: ")).map(str::to_owned);
    let told = told_at(&running.printed);
    match outcome {
        "skipped" => verdict.reason = told.map_or_else(|| "skipped".to_owned(), |(_, said)| said),
        "failed" => {
            let first = running.printed.lines().find(|l| !l.trim().is_empty()).unwrap_or(SILENT).trim().to_owned();
            verdict.location = told.as_ref().map_or_else(String::new, |(place, _)| place.clone());
            verdict.message = panic.or(told.map(|(_, said)| said)).unwrap_or(first);
        }
        _ => {}
    }
    if !running.printed.trim().is_empty() {
        verdict.sections.push(("output".to_owned(), clipped(running.printed.as_bytes())));
    }
    verdict.subtests =
        running.parts.into_iter().map(|(n, o, t)| (n, if o.is_empty() { "failed".into() } else { o }, t)).collect();
    verdict
}

impl Reader for Json {
    fn output(&mut self, _stream: usize, bytes: &[u8]) -> Vec<Event> {
        self.buffer.extend_from_slice(bytes);
        let mut events = Vec::new();
        while let Some(end) = self.buffer.iter().position(|b| *b == b'\n') {
            let line: Vec<u8> = self.buffer.drain(..=end).collect();
            self.line(&line, &mut events);
        }
        events
    }

    fn end(&mut self, ending: &Ending) -> Vec<Event> {
        let Some((test, mut verdict)) = self.last.take() else { return Vec::new() };
        if verdict.message == SILENT && ending.status != 0 {
            // whoever fails with a word or not, test2json ends it with this when its program is gone
            verdict.message =
                "it failed without a word; if it did not call Fail itself, it ended its process".to_owned();
        }
        let complete = self.running.is_empty();
        if ending.status != 0 && complete && !self.failed && !ending.killed {
            let how = ended_how(ending.status);
            let message =
                format!("its program failed ({how}) although no test of it did: TestMain, or what runs at its end");
            verdict = Verdict { sections: self.rest(), ..Verdict::errored(message) };
        }
        vec![Event::Ended(test, verdict)]
    }

    fn rest(&mut self) -> Vec<(String, String)> {
        let mut text: String = self.running.values().map(|r| r.printed.as_str()).collect();
        text.push_str(&self.loose);
        if text.trim().is_empty() { Vec::new() } else { vec![("output".to_owned(), clipped(text.as_bytes()))] }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn results_and_reasons_come_out_of_test2json() {
        let mut json = Json::new([("TestA".to_owned(), 0), ("TestB".to_owned(), 1)]);
        let text = r#"{"Action":"run","Test":"TestA"}
{"Action":"output","Test":"TestA","Output":"=== RUN   TestA\n"}
{"Action":"output","Test":"TestA","Output":"    a_test.go:9: two: 4\n"}
{"Action":"fail","Test":"TestA","Elapsed":0.5}
{"Action":"run","Test":"TestB"}
{"Action":"skip","Test":"TestB/x","Elapsed":0}
{"Action":"pass","Test":"TestB","Elapsed":0}
"#;
        let mut events = json.output(0, text.as_bytes());
        let ending = Ending { status: 1 << 8, took: Duration::ZERO, leaked: false, killed: false };
        events.extend(json.end(&ending));
        let shown: Vec<String> = events
            .iter()
            .map(|e| match e {
                Event::Started(test) => format!("start {test}"),
                Event::Ended(test, v) => format!("{test} {} {} {}", v.outcome, v.message, v.location),
            })
            .collect();
        assert_eq!(shown, ["start 0", "0 failed two: 4 a_test.go:9", "start 1", "1 passed  "]);
    }
}
