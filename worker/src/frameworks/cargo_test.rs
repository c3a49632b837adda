//! `cargo test`: the tests of a program in batches, each batch one process of libtest. cargo itself builds and says how
//! each program is started (`capture.rs`); it then has no part in running them.
//!
//! A program without libtest (`harness = false`) is one test. The tests of a library's documentation are rustdoc's: it
//! builds them all at each start, so that one slot gets all of a library, and a result that comes before it is asked
//! for is kept.

use std::collections::{HashMap, VecDeque};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::capture::{Captures, Record, crate_name};
use super::libtest::{self, Stream};
use super::{Asks, Ending, Event, Found, Launch, Limits, Load, Reader, SlotEnv, Suite, Verdict, gather, over, tool};
use crate::adapter::command::clipped;
use crate::bridge::ended_how;
use crate::bridge::loader::{Failure, Link};

/// What a start of a program of libtest costs, about.
const STARTUP_US: u64 = 5_000;
/// Flags of libtest that say how it tells, with a value: its output is read here.
const TELLING_VALUES: &[&str] = &["--format", "--color", "--test-threads", "--logfile", "-Z"];
/// The same without one.
const TELLING: &[&str] = &["-q", "--quiet", "--nocapture", "--no-capture", "--show-output", "--report-time"];
/// Flags of libtest that choose tests, with a value: it has chosen already.
const CHOOSING_VALUES: &[&str] = &["--skip"];

#[derive(Debug, PartialEq, Eq)]
enum Kind {
    Libtest,
    Custom,
    Doc,
}

#[derive(Debug)]
struct Program {
    name: String,
    kind: Kind,
    argv: Vec<OsString>,
    env: super::Env,
    cwd: PathBuf,
}

#[derive(Debug)]
pub(super) struct CargoTest {
    programs: Vec<Program>,
    /// Program and name of each test.
    tests: Vec<(usize, String)>,
    found: Vec<Found>,
    /// Results of the documentation's tests that have not been asked for.
    spare: std::rc::Rc<std::cell::RefCell<HashMap<u32, Verdict>>>,
    timeout: Option<Duration>,
    grace: Duration,
}

/// Lets cargo build, and the programs list their tests.
pub(super) fn collect(load: &Load, program: &[String], args: &[String], link: &mut Link) -> Result<CargoTest, Failure> {
    let failed = |message: String| Failure { message, exit: 3, output: String::new() };
    let captures = Captures::new().map_err(|e| failed(format!("no folder for how tests are started: {e}")))?;
    let variables = captures.variables(true).map_err(|e| failed(e.to_string()))?;
    let argv = listing(program, args);
    let output = tool::run(&argv, &variables, link)?;
    let records = captures.read().map_err(|e| failed(format!("how tests are started could not be read: {e}")))?;
    // a program that cannot list its tests ends cargo's listing with an error: so does a crate that cannot be built
    if output.status != 0 {
        return Err(output.failure(&argv));
    }
    Ok(build(load, &records, &output.errors()))
}

/// The user's command with what makes it list.
fn listing(program: &[String], args: &[String]) -> Vec<String> {
    let quiet = ["-q", "--quiet"];
    let (before, after) = split(args);
    let mut argv = program.to_vec();
    argv.push("--no-fail-fast".to_owned());
    argv.extend(before.iter().filter(|w| !quiet.contains(&w.as_str()) && *w != "--no-fail-fast").cloned());
    argv.extend(["--color".to_owned(), "never".to_owned(), "--".to_owned()]);
    argv.extend(without(after, TELLING_VALUES, TELLING));
    argv
}

fn split(args: &[String]) -> (&[String], &[String]) {
    let at = args.iter().position(|w| w == "--").unwrap_or(args.len());
    (&args[..at], args.get(at + 1..).unwrap_or_default())
}

/// `words` without these flags and their values.
fn without(words: &[String], values: &[&str], flags: &[&str]) -> Vec<String> {
    let mut kept = Vec::new();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let name = word.split('=').next().unwrap_or(word);
        if values.contains(&name) {
            if name.len() == word.len() {
                words.next();
            }
        } else if !flags.contains(&name) {
            kept.push(word.clone());
        }
    }
    kept
}

fn build(load: &Load, records: &[Record], said: &str) -> CargoTest {
    let (mut programs, mut tests): (Vec<Program>, Vec<(usize, String)>) = (Vec::new(), Vec::new());
    for record in records {
        let kind = match (record.rustdoc, record.custom) {
            (true, _) => Kind::Doc,
            (_, true) => Kind::Custom,
            _ => Kind::Libtest,
        };
        let names: Vec<String> = match kind {
            Kind::Custom => vec![String::new()],
            _ => record.list.lines().filter_map(|l| l.strip_suffix(": test")).map(str::to_owned).collect(),
        };
        let argv =
            if kind == Kind::Doc { without_runtool(record.argv()) } else { runnable(record, kind == Kind::Libtest) };
        let name = program_name(record, &kind, said);
        tests.extend(names.into_iter().map(|test| (programs.len(), test)));
        programs.push(Program { name, kind, argv, env: record.env(), cwd: record.cwd() });
    }
    let found = tests
        .iter()
        .map(|(program, test)| {
            let Program { name, kind, .. } = &programs[*program];
            let group = (*kind == Kind::Doc).then(|| name.clone());
            Found { id: format!("{name} {test}").trim_end().to_owned(), file: name.clone(), group }
        })
        .collect();
    let (timeout, grace) = (load.timeout(), Duration::from_millis(load.grace_ms));
    CargoTest { programs, tests, found, spare: std::rc::Rc::default(), timeout, grace }
}

/// A program's name as nextest gives it: the package alone for its library.
fn program_name(record: &Record, kind: &Kind, said: &str) -> String {
    let package = record.var("CARGO_PKG_NAME").unwrap_or("crate");
    if *kind == Kind::Doc {
        return format!("{package}::doc");
    }
    let program = record.program();
    let stem = crate_name(program);
    let file = program.file_name().unwrap_or_default().to_string_lossy().into_owned();
    // "     Running unittests src/lib.rs (target/debug/deps/ledger-9ebe1637cdc70166)"
    let source = said.lines().find_map(|line| {
        let (source, path) = line.trim().strip_prefix("Running ")?.rsplit_once(" (")?;
        (Path::new(path.trim_end_matches(')')).file_name()?.to_string_lossy() == file).then(|| source.to_owned())
    });
    let unit = source.as_deref().and_then(|s| s.strip_prefix("unittests "));
    let target = target_name(record, unit.or(source.as_deref()).unwrap_or(""), &stem);
    match unit {
        Some(unit) if unit.ends_with("lib.rs") || stem == package.replace('-', "_") && !unit.ends_with("main.rs") => {
            package.to_owned()
        }
        Some(unit) if unit.contains("examples/") => format!("{package}::example/{target}"),
        Some(_) => format!("{package}::bin/{target}"),
        None => format!("{package}::{target}"),
    }
}

/// The target's name as its manifest or file gives it: the program's has `_` where that may have `-`.
fn target_name(record: &Record, source: &str, stem: &str) -> String {
    let manifest = record.var("CARGO_MANIFEST_DIR").map(|folder| Path::new(folder).join("Cargo.toml"));
    let text = manifest.and_then(|path| std::fs::read_to_string(path).ok()).unwrap_or_default();
    let table: toml::Table = text.parse().unwrap_or_default();
    let targets = ["bin", "test", "example"].into_iter().filter_map(|kind| table.get(kind)?.as_array()).flatten();
    let named = targets.filter_map(|t| t.get("name")?.as_str().map(str::to_owned));
    let source = Path::new(source);
    let file = if source.ends_with("main.rs") { source.parent() } else { Some(source) };
    let file = file.and_then(Path::file_stem).map(|s| s.to_string_lossy().into_owned());
    let package = record.var("CARGO_PKG_NAME").map(str::to_owned);
    named.chain(file).chain(package).find(|name| name.replace('-', "_") == stem).unwrap_or_else(|| stem.to_owned())
}

/// How a program is started for chosen tests: without the arguments that chose them or say how it tells.
fn runnable(record: &Record, libtest: bool) -> Vec<OsString> {
    let argv = record.argv();
    let at = argv.iter().position(|w| w == record.program().as_os_str()).map_or(1, |at| at + 1);
    if !libtest {
        return argv;
    }
    let (head, args) = argv.split_at(at);
    let words: Vec<String> = args.iter().map(|w| w.to_string_lossy().into_owned()).collect();
    let kept = without(&words, CHOOSING_VALUES, &["--exact"]).into_iter().filter(|w| w.starts_with('-'));
    head.iter().cloned().chain(kept.map(OsString::from)).collect()
}

/// rustdoc's command line without the capture as the runner of what it builds.
fn without_runtool(argv: Vec<OsString>) -> Vec<OsString> {
    let mut kept = Vec::new();
    let mut words = argv.into_iter();
    while let Some(word) = words.next() {
        match word.to_str().unwrap_or("") {
            "--test-runtool" | "--test-runtool-arg" | "--runtool" | "--runtool-arg" => drop(words.next()),
            word if word.starts_with("--test-runtool") || word.starts_with("--runtool") => {}
            _ => kept.push(word),
        }
    }
    kept
}

impl Suite for CargoTest {
    fn tests(&self) -> &[Found] {
        &self.found
    }

    fn asks(&self) -> Asks {
        Asks { startup_us: Some(STARTUP_US), ..Asks::default() }
    }

    fn known(&mut self, test: u32) -> Option<Verdict> {
        self.spare.borrow_mut().remove(&test)
    }

    fn launch(
        &mut self,
        queue: &VecDeque<u32>,
        most: &dyn Fn(u32) -> usize,
        _attempt: u32,
        slot: &SlotEnv,
    ) -> Result<Launch, String> {
        let head = queue.front().copied().unwrap_or_default();
        let number = self.tests.get(head as usize).ok_or("the manifest has no such test")?.0;
        let program = &self.programs[number];
        let tests = gather(queue, most, |test| self.tests.get(test as usize).is_some_and(|(p, _)| *p == number));
        let named = |test: &u32| (self.tests[*test as usize].1.clone(), *test);
        let mut argv = program.argv.clone();
        let mut limits = Limits { test: self.timeout, whole: None, grace: self.grace, ..Limits::default() };
        let reader: Box<dyn Reader> = match program.kind {
            Kind::Libtest => {
                argv.push("--exact".into());
                argv.extend(tests.iter().map(|t| OsString::from(&self.tests[*t as usize].1)));
                argv.extend(
                    ["--test-threads=1", "--nocapture", "--format=pretty", "--color=never"].map(OsString::from),
                );
                Box::new(Stream::new(tests.iter().map(named)))
            }
            Kind::Custom => Box::new(Whole { test: head, printed: Vec::new() }),
            Kind::Doc => {
                argv.extend(["--test-args", "--test-threads=1", "--test-args", "--color=never"].map(OsString::from));
                limits = Limits { test: None, whole: self.timeout, ..limits };
                let all = (0..).zip(&self.tests).filter(|(_, (p, _))| *p == number);
                let names = all.map(|(test, (_, name))| (name.clone(), test)).collect();
                Box::new(Docs { names, asked: tests.clone(), spare: std::rc::Rc::clone(&self.spare), text: Vec::new() })
            }
        };
        let env = over(&program.env, slot.all.iter().cloned());
        Ok(Launch { tests, argv, env, cwd: program.cwd.clone(), limits, merged: true, reader })
    }
}

/// Reads a program without libtest: its exit code is the verdict.
#[derive(Debug)]
struct Whole {
    test: u32,
    printed: Vec<u8>,
}

impl Reader for Whole {
    fn output(&mut self, _stream: usize, bytes: &[u8]) -> Vec<Event> {
        libtest::keep(&mut self.printed, bytes);
        Vec::new()
    }

    fn end(&mut self, ending: &Ending) -> Vec<Event> {
        if ending.killed {
            return Vec::new();
        }
        let verdict = if ending.status == 0 {
            Verdict::new("passed")
        } else {
            let said = libtest::panic_in(&String::from_utf8_lossy(&self.printed));
            let message = if said.message.is_empty() { ended_how(ending.status) } else { said.message };
            Verdict { message, location: said.location, ..Verdict::new("failed") }
        };
        vec![Event::Ended(self.test, Verdict { sections: self.rest(), ..verdict })]
    }

    fn rest(&mut self) -> Vec<(String, String)> {
        let printed = std::mem::take(&mut self.printed);
        if printed.is_empty() { Vec::new() } else { vec![("output".to_owned(), clipped(&printed))] }
    }
}

/// Reads rustdoc: a line for each test, the reasons of failures at the end.
#[derive(Debug)]
struct Docs {
    names: HashMap<String, u32>,
    asked: Vec<u32>,
    spare: std::rc::Rc<std::cell::RefCell<HashMap<u32, Verdict>>>,
    text: Vec<u8>,
}

impl Reader for Docs {
    fn output(&mut self, _stream: usize, bytes: &[u8]) -> Vec<Event> {
        libtest::keep(&mut self.text, bytes);
        Vec::new()
    }

    fn end(&mut self, _ending: &Ending) -> Vec<Event> {
        let text = String::from_utf8_lossy(&self.text).into_owned();
        let mut events = Vec::new();
        for (name, verdict) in doc_results(&text) {
            let Some(&test) = self.names.get(&name) else { continue };
            if self.asked.contains(&test) {
                events.push(Event::Ended(test, verdict));
            } else {
                self.spare.borrow_mut().insert(test, verdict);
            }
        }
        events
    }

    fn rest(&mut self) -> Vec<(String, String)> {
        if self.text.is_empty() { Vec::new() } else { vec![("output".to_owned(), clipped(&self.text))] }
    }
}

/// Results by name. rustdoc says of some how they are meant: `NAME - compile fail ... ok`.
fn doc_results(text: &str) -> Vec<(String, Verdict)> {
    let lines = text.lines().filter_map(|line| {
        let (name, word) = line.strip_prefix("test ")?.rsplit_once(" ... ")?;
        let name = [" - compile fail", " - compile", " - should panic"]
            .iter()
            .find_map(|how| name.strip_suffix(how))
            .unwrap_or(name);
        let verdict = match word {
            "ok" => Verdict::new("passed"),
            "FAILED" => {
                let told = libtest::told_at_the_end(text, name);
                let said = libtest::panic_in(&told);
                let first = told.lines().find(|l| !l.trim().is_empty()).unwrap_or("FAILED");
                let message = if said.message.is_empty() { first.to_owned() } else { said.message };
                Verdict { message, location: said.location, text: told, ..Verdict::new("failed") }
            }
            ignored => {
                let reason = ignored.strip_prefix("ignored")?.trim_start_matches(", ");
                let reason = if reason.is_empty() { "ignored" } else { reason };
                Verdict { reason: reason.to_owned(), ..Verdict::new("skipped") }
            }
        };
        Some((name.to_owned(), verdict))
    });
    lines.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn cargo_is_asked_to_list_what_the_user_would_run() {
        let line =
            listing(&words("cargo test"), &words("-q --release name -- --skip slow --nocapture --test-threads 4"));
        assert_eq!(line.join(" "), "cargo test --no-fail-fast --release name --color never -- --skip slow");
    }

    #[test]
    fn tests_of_documentation_are_found_whatever_they_are_called() {
        let text = "\nrunning 3 tests\ntest src/lib.rs - add (line 5) ... ok\ntest src/lib.rs - add (line 14) ... ignored\ntest src/lib.rs - add (line 9) - compile fail ... FAILED\n\nfailures:\n\n---- src/lib.rs - add (line 9) stdout ----\nTest compiled successfully, but it's marked `compile_fail`.\n\nfailures:\n    src/lib.rs - add (line 9)\n";
        let found = doc_results(text);
        let shown: Vec<_> = found.iter().map(|(n, v)| (n.as_str(), v.outcome)).collect();
        assert_eq!(
            shown,
            [
                ("src/lib.rs - add (line 5)", "passed"),
                ("src/lib.rs - add (line 14)", "skipped"),
                ("src/lib.rs - add (line 9)", "failed")
            ]
        );
        assert_eq!(found[2].1.message, "Test compiled successfully, but it's marked `compile_fail`.");
    }
}
