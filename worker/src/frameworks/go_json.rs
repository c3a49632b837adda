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
                if let Some((printed, end)) = hidden_end(&line.output, test) {
                    running.print(part, printed);
                    let part = end.test.split_once('/').map_or("", |(_, part)| part).to_owned();
                    return self.ended(&end, test, &part, position, events);
                }
                let told = line.output.trim_start();
                let frame = ["=== RUN", "=== PAUSE", "=== CONT", "=== NAME", "--- PASS", "--- FAIL", "--- SKIP"];
                if frame.iter().any(|f| told.starts_with(f)) {
                    return;
                }
                running.print(part, &line.output);
            }
            ("pass" | "fail" | "skip", _) => self.ended(&line, test, part, position, events),
            _ => {}
        }
    }

    fn ended(&mut self, line: &Line, test: &str, part: &str, position: u32, events: &mut Vec<Event>) {
        if !part.is_empty() {
            let running = self.running.entry(test.to_owned()).or_default();
            let outcome = outcome(&line.action).to_owned();
            match running.parts.iter_mut().find(|p| p.0 == part) {
                Some(at) => at.1 = outcome,
                None => running.parts.push((part.to_owned(), outcome, String::new())),
            }
            return;
        }
        let verdict = ended(line, self.running.remove(test).unwrap_or_default());
        self.failed |= verdict.is_failure();
        // of two ends of one test the first was its own words
        if let Some((test, verdict)) = self.last.replace((position, verdict)).filter(|(last, _)| *last != position) {
            events.push(Event::Ended(test, verdict));
        }
    }
}

impl Running {
    fn print(&mut self, part: &str, output: &str) {
        let mut text = std::mem::take(&mut self.printed).into_bytes();
        libtest::keep(&mut text, output.as_bytes());
        self.printed = String::from_utf8_lossy(&text).into_owned();
        if let Some(at) = self.parts.iter_mut().find(|p| p.0 == part) {
            at.2.push_str(output);
        } else if !part.is_empty() {
            self.parts.push((part.to_owned(), String::new(), output.to_owned()));
        }
    }
}

/// `x--- PASS: TestA (0.00s)`: before Go 1.20, what a test prints without a line's end hides from test2json that it has
/// ended. What was printed, and the end of `test` or of a part of it.
fn hidden_end<'a>(output: &'a str, test: &str) -> Option<(&'a str, Line)> {
    ["pass", "fail", "skip"].into_iter().find_map(|action| {
        let (printed, rest) = output.rsplit_once(&format!("--- {}: ", action.to_uppercase()))?;
        let (name, took) = rest.trim_end().strip_suffix("s)")?.rsplit_once(" (")?;
        let of_it = name.strip_prefix(test).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        let end =
            Line { action: action.to_owned(), test: name.to_owned(), elapsed: took.parse().ok()?, ..Line::default() };
        (of_it && !printed.trim().is_empty()).then_some((printed, end))
    })
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
    // one whose end was not seen
    let unseen = if outcome == "failed" { "failed" } else { "passed" };
    verdict.subtests =
        running.parts.into_iter().map(|(n, o, t)| (n, if o.is_empty() { unseen.into() } else { o }, t)).collect();
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
    fn an_end_behind_output_without_a_lines_end_is_seen() {
        let mut json = Json::new([("TestA".to_owned(), 0)]);
        let text = r#"{"Action":"run","Test":"TestA"}
{"Action":"output","Test":"TestA","Output":"=== RUN   TestA/b\n"}
{"Action":"output","Test":"TestA/b","Output":"--- PASS: TestA (0.1s) is no end --- SKIP: TestA/b (0.10s)\n"}
{"Action":"run","Test":"TestA/c"}
{"Action":"output","Test":"TestA/c","Output":"x--- PASS: TestA (0.25s)\n"}
{"Action":"output","Test":"TestA","Output":"PASS\n"}
"#;
        let mut events = json.output(0, text.as_bytes());
        events.extend(json.end(&Ending { status: 0, took: Duration::ZERO, leaked: false, killed: false }));
        let [Event::Started(0), Event::Ended(0, verdict)] = &events[..] else { panic!("{events:?}") };
        assert_eq!(
            (verdict.outcome, verdict.us, verdict.subtests[0].1.as_str()),
            ("passed", Some(250_000.0), "skipped")
        );
        assert_eq!((verdict.subtests[1].0.as_str(), verdict.subtests[1].1.as_str()), ("c", "passed"));
        assert!(verdict.sections[0].1.ends_with("x"), "{:?}", verdict.sections);
    }

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
