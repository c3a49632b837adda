//! What Rust's test harness prints. With one thread it writes `test NAME ... ` before a test runs and `ok` after it, so
//! one process tells of many tests as they end, and of a crash which test it was. Pure.

use std::collections::HashMap;

use super::{Ending, Event, Reader, Verdict};
use crate::adapter::command::clipped;

/// Bytes kept of what one test prints, from its start and from its end.
const KEPT: usize = 128 << 10;

/// Appends to what a test has printed; far too much loses its middle.
pub(super) fn keep(all: &mut Vec<u8>, more: &[u8]) {
    all.extend_from_slice(more);
    if all.len() > 4 * KEPT {
        let cut = all.len() - 2 * KEPT;
        all.splice(KEPT..KEPT + cut, format!("\n[... {cut} bytes dropped ...]\n").into_bytes());
    }
}

/// What a panic says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Panic {
    pub(super) message: String,
    /// `file:line`.
    pub(super) location: String,
}

/// The last panic in a text, or the error that a test returned.
pub(super) fn panic_in(text: &str) -> Panic {
    let lines: Vec<&str> = text.lines().collect();
    let at = lines.iter().rposition(|line| line.contains("panicked at ") && line.contains("thread '"));
    let Some(at) = at else {
        let error = lines.iter().rfind(|line| line.starts_with("Error: "));
        return Panic { message: error.map_or_else(String::new, |e| (*e).to_owned()), location: String::new() };
    };
    let place = lines[at].split("panicked at ").nth(1).unwrap_or("").trim_end_matches(':');
    let location = place.rsplit_once(':').map_or(place, |(file_line, _)| file_line).to_owned();
    let message: Vec<&str> = lines[at + 1..]
        .iter()
        .copied()
        .take_while(|line| !line.starts_with("note: ") && !line.starts_with("stack backtrace:") && !line.is_empty())
        .take(4)
        .map(str::trim)
        .collect();
    Panic { message: message.join("; "), location }
}

/// Whether a process of one test printed nothing but what the harness says of a pass.
pub(super) fn says_only_ok(stdout: &[u8]) -> bool {
    let text = String::from_utf8_lossy(stdout);
    let lines: Vec<&str> = text.lines().filter(|line| !line.is_empty()).collect();
    let [first, test, result] = lines[..] else { return false };
    first == "running 1 test" && test.ends_with(" ... ok") && result.starts_with("test result: ok. 1 passed; ")
}

/// Reads a process of libtest with one thread, its two streams as one.
#[derive(Debug)]
pub(super) struct Stream {
    /// Position by name, of those that have not begun.
    waiting: HashMap<String, u32>,
    /// What has come and is not understood yet.
    text: Vec<u8>,
    /// What runs: its name, its position, whether it must panic.
    running: Option<(String, u32, bool)>,
    /// Failed, and the reason comes at the end: name, position.
    held: Vec<(String, u32, Verdict)>,
}

impl Stream {
    pub(super) fn new(tests: impl IntoIterator<Item = (String, u32)>) -> Self {
        Self { waiting: tests.into_iter().collect(), text: Vec::new(), running: None, held: Vec::new() }
    }

    /// The next `test NAME ... ` at the start of a line: where it begins and ends, and whose it is.
    fn next_start(&self, from: usize) -> Option<(usize, usize, String, bool)> {
        let mut at = from;
        loop {
            let found = find(&self.text[at..], b"test ")? + at;
            let rest = &self.text[found + 5..];
            let line = &rest[..find(rest, b"\n").unwrap_or(rest.len())];
            at = found + 5;
            if found > 0 && self.text[found - 1] != b'\n' {
                continue;
            }
            let Some(dots) = find(line, b" ... ") else { continue };
            let name = String::from_utf8_lossy(&line[..dots]).into_owned();
            let (name, panics) = match name.strip_suffix(" - should panic") {
                Some(name) => (name.to_owned(), true),
                None => (name, false),
            };
            if self.waiting.contains_key(&name) {
                return Some((found, found + 5 + dots + 5, name, panics));
            }
        }
    }

    fn advance(&mut self, last: bool) -> Vec<Event> {
        let mut events = Vec::new();
        loop {
            let next = self.next_start(0);
            let end = match (&next, &self.running) {
                (Some((at, ..)), _) => Some(*at),
                (None, Some(_)) => self.tail(last),
                (None, None) => None,
            };
            if let Some(end) = end
                && let Some((name, test, panics)) = self.running.take()
            {
                let printed = self.text[..end].to_vec();
                match verdict(&printed, panics) {
                    Some(verdict) if panics && verdict.outcome == "failed" => self.held.push((name, test, verdict)),
                    Some(verdict) => events.push(Event::Ended(test, verdict)),
                    // its result is not there: it is what the process ended under, or printed like a test's start
                    None if next.is_some() || last => {}
                    None => {
                        self.running = Some((name, test, panics));
                        return events;
                    }
                }
            }
            let Some((_, end, name, panics)) = next else {
                if self.running.is_none() && self.text.len() > KEPT {
                    self.text.drain(..self.text.len() - KEPT);
                }
                return events;
            };
            self.text.drain(..end);
            if let Some(test) = self.waiting.remove(&name) {
                events.push(Event::Started(test));
                self.running = Some((name, test, panics));
            }
        }
    }

    /// Where the last test's part ends: before the summary.
    fn tail(&mut self, last: bool) -> Option<usize> {
        let ends: [&[u8]; 3] = [b"\n\nfailures:\n", b"\n\nsuccesses:\n", b"\n\ntest result: "];
        let found = ends.iter().filter_map(|end| find(&self.text, end)).min();
        if found.is_none() && !last && self.text.len() > 8 * KEPT {
            let mut text = std::mem::take(&mut self.text);
            keep(&mut text, b"");
            self.text = text;
        }
        found.map(|at| at + 1)
    }
}

impl Reader for Stream {
    fn output(&mut self, _stream: usize, bytes: &[u8]) -> Vec<Event> {
        self.text.extend_from_slice(bytes);
        self.advance(false)
    }

    fn end(&mut self, _ending: &Ending) -> Vec<Event> {
        let mut events = self.advance(true);
        let text = String::from_utf8_lossy(&self.text).into_owned();
        for (name, test, mut verdict) in std::mem::take(&mut self.held) {
            let note = told_at_the_end(&text, &name);
            if !note.is_empty() {
                verdict.message = note.lines().next().unwrap_or("").trim_start_matches("note: ").to_owned();
                verdict.sections.push(("note".to_owned(), note));
            }
            events.push(Event::Ended(test, verdict));
        }
        events
    }

    fn rest(&mut self) -> Vec<(String, String)> {
        if self.text.is_empty() { Vec::new() } else { vec![("output".to_owned(), clipped(&self.text))] }
    }
}

/// What is told of a failed test after all have run: `---- NAME stdout ----` and what follows.
pub(super) fn told_at_the_end(text: &str, name: &str) -> String {
    let header = format!("---- {name} stdout ----\n");
    let Some(at) = text.find(&header) else { return String::new() };
    let rest = &text[at + header.len()..];
    let end = ["\n---- ", "\nfailures:\n", "\nsuccesses:\n"].iter().filter_map(|e| rest.find(e)).min();
    rest[..end.unwrap_or(rest.len())].trim_end().to_owned()
}

/// What stands between a test's start and the next thing.
fn verdict(printed: &[u8], panics: bool) -> Option<Verdict> {
    let text = String::from_utf8_lossy(printed);
    let text = text.strip_suffix('\n').unwrap_or(&text);
    if let Some(reason) = text.strip_prefix("ignored")
        && !reason.contains('\n')
    {
        let reason = reason.trim_start_matches(", ").to_owned();
        let reason = if reason.is_empty() { "ignored".to_owned() } else { reason };
        return Some(Verdict { reason, ..Verdict::new("skipped") });
    }
    let sections = |output: &str| {
        let output = output.trim_end_matches('\n');
        if output.is_empty() { Vec::new() } else { vec![("output".to_owned(), clipped(output.as_bytes()))] }
    };
    // a test that printed no newline at its end is followed by its result on the same line
    if let Some(output) = text.strip_suffix("ok") {
        return Some(Verdict { sections: sections(output), ..Verdict::new("passed") });
    }
    let output = text.strip_suffix("FAILED")?;
    let Panic { message, location } = panic_in(output);
    let (message, location) = if panics { (String::new(), String::new()) } else { (message, location) };
    let message = if message.is_empty() { "FAILED".to_owned() } else { message };
    Some(Verdict { message, location, sections: sections(output), ..Verdict::new("failed") })
}

fn find(hay: &[u8], needle: &[u8]) -> Option<usize> {
    hay.windows(needle.len()).position(|w| w == needle)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTPUT: &str = "\nrunning 6 tests\ntest tests::adds ... some words\nok\ntest tests::adds_wrongly ... the ledger says 4\n\nthread 'tests::adds_wrongly' (42) panicked at src/lib.rs:34:9:\nassertion `left == right` failed: two and two\n  left: 4\n right: 5\nnote: run with `RUST_BACKTRACE=1` environment variable to display a backtrace\nFAILED\ntest tests::bank ... ignored, needs a bank\ntest tests::never - should panic ... FAILED\ntest tests::overflows - should panic ... \nthread 'tests::overflows' (43) panicked at src/lib.rs:46:33:\noverflow\nok\ntest tests::returns ... Error: \"not today\"\nFAILED\n\nfailures:\n\n---- tests::never stdout ----\nnote: test did not panic as expected at src/lib.rs:51:8\n\nfailures:\n    tests::adds_wrongly\n\ntest result: FAILED. 2 passed; 3 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s\n\n";
    const NAMES: [&str; 6] =
        ["tests::adds", "tests::adds_wrongly", "tests::bank", "tests::never", "tests::overflows", "tests::returns"];

    fn read(output: &str, chunk: usize) -> Vec<(u32, Verdict)> {
        let mut stream = Stream::new(NAMES.iter().map(ToString::to_string).zip(0..));
        let mut events = Vec::new();
        for bytes in output.as_bytes().chunks(chunk) {
            events.extend(stream.output(0, bytes));
        }
        let ending = Ending { status: 0, took: std::time::Duration::ZERO, leaked: false, killed: false };
        events.extend(stream.end(&ending));
        let mut ended: Vec<_> = events
            .into_iter()
            .filter_map(|e| match e {
                Event::Ended(test, verdict) => Some((test, verdict)),
                Event::Started(_) => None,
            })
            .collect();
        ended.sort_by_key(|(test, _)| *test);
        ended
    }

    #[test]
    fn each_test_has_its_own_verdict_however_the_output_arrives() {
        for chunk in [1, 7, 4096] {
            let ended = read(OUTPUT, chunk);
            let outcomes: Vec<_> = ended.iter().map(|(_, v)| v.outcome).collect();
            assert_eq!(outcomes, ["passed", "failed", "skipped", "failed", "passed", "failed"], "{chunk}");
            assert_eq!(ended[1].1.location, "src/lib.rs:34");
            assert_eq!(ended[1].1.message, "assertion `left == right` failed: two and two; left: 4; right: 5");
            assert_eq!(ended[2].1.reason, "needs a bank");
            assert_eq!(ended[3].1.message, "test did not panic as expected at src/lib.rs:51:8");
            assert_eq!(ended[5].1.message, "Error: \"not today\"");
        }
    }

    #[test]
    fn a_crash_leaves_the_running_test_without_a_verdict() {
        let cut = &OUTPUT[..OUTPUT.find("two and two").unwrap()];
        assert_eq!(read(cut, 4096).iter().map(|(test, _)| *test).collect::<Vec<_>>(), [0]);
    }

    #[test]
    fn words_of_a_test_are_not_taken_for_its_result() {
        let output = "test tests::adds ... test tests::unknown ... ok\nok\nstill here\nFAILED\ntest tests::bank ... ok\n\ntest result: ok\n";
        let outcomes: Vec<_> = read(output, 3).iter().map(|(t, v)| (*t, v.outcome)).collect();
        assert_eq!(outcomes, [(0, "failed"), (2, "passed")]);
    }
}
