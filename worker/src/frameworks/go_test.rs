//! `go test`: each package compiled once by go itself, its tests in batches. go hands a test program to `-exec`, which
//! is the capture (`capture.rs`): it keeps the program and how it would have been started. Results are read from
//! `test2json`, as they come. A package that cannot be built is one test that says so.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::capture::{Captures, Record};
use super::go_json::Json;
use super::{Asks, Found, Launch, Limits, Load, SlotEnv, Suite, Verdict, gather, over, tool};
use crate::bridge::loader::{Failure, Link};

/// What a start of a test program costs, about.
const STARTUP_US: u64 = 10_000;

#[derive(Debug)]
struct Program {
    package: String,
    argv: Vec<OsString>,
    /// What `-run` says of subtests, by test.
    parts: HashMap<String, Vec<String>>,
    env: super::Env,
    cwd: PathBuf,
}

#[derive(Debug)]
pub(super) struct GoTest {
    programs: Vec<Program>,
    /// Program and name of each test; a package that could not be built has the reason instead.
    tests: Vec<Result<(usize, String), Verdict>>,
    found: Vec<Found>,
    converter: OsString,
    /// What makes a test program mark its own lines (from Go 1.20 on): output without a line's end hides none then.
    verbose: &'static str,
    timeout: Option<Duration>,
    grace: Duration,
    /// The programs. The loader's own: a slot must not remove them.
    captures: Option<Captures>,
}

/// Lets go build, and the programs list their tests.
pub(super) fn collect(load: &Load, program: &[String], args: &[String], link: &mut Link) -> Result<GoTest, Failure> {
    let failed = |message: String| Failure { message, exit: 3, output: String::new() };
    let captures = Captures::new().map_err(|e| failed(format!("no folder for the test programs: {e}")))?;
    let variables = captures.variables(true).map_err(|e| failed(e.to_string()))?;
    let mut argv = program.to_vec();
    // a listing must not be remembered as a passed run
    argv.extend([format!("-exec={}", Captures::go_exec()), "-count=1".to_owned()]);
    argv.extend(args.iter().filter(|w| *w != "-count=1" && *w != "-v").cloned());
    let output = tool::run(&argv, &variables, link)?;
    let records = captures.read().map_err(|e| failed(format!("how tests are started could not be read: {e}")))?;
    let broken = broken_packages(&String::from_utf8_lossy(&output.stdout), &output.errors());
    if records.is_empty() && broken.is_empty() && output.status != 0 {
        return Err(output.failure(&argv));
    }
    let go = program.first().map_or("go", String::as_str).to_owned();
    let ask = [go.clone(), "tool".to_owned(), "-n".to_owned(), "test2json".to_owned()];
    let converter = tool::run(&ask, &[], link)?.text(&ask)?.trim().to_owned().into();
    let ask = [go.clone(), "env".to_owned(), "GOVERSION".to_owned()];
    let verbose = if marks_its_lines(&tool::run(&ask, &[], link)?.text(&ask)?) { "test2json" } else { "true" };
    let packages = packages(&go, &records, link)?;
    let mut suite = GoTest {
        programs: Vec::new(),
        tests: Vec::new(),
        found: Vec::new(),
        converter,
        verbose,
        timeout: load.timeout(),
        grace: Duration::from_millis(load.grace_ms),
        captures: None,
    };
    for record in &records {
        let left_out = skipped(record, link)?;
        suite.add(record, &packages, &left_out, parts_of(record, link)?);
    }
    for (package, why) in broken {
        let message = why.lines().find(|l| !l.starts_with('#')).unwrap_or("it cannot be built").to_owned();
        suite.tests.push(Err(Verdict { text: why, ..Verdict::errored(message) }));
        suite.found.push(Found { id: package.clone(), file: package, group: None });
    }
    suite.captures = Some(captures);
    Ok(suite)
}

/// Whether this version of go knows `-test.v=test2json`. What is no release is newer.
fn marks_its_lines(version: &str) -> bool {
    let minor = version.trim().strip_prefix("go1.").and_then(|rest| rest.split(|c: char| !c.is_ascii_digit()).next());
    minor.and_then(|minor| minor.parse::<u32>().ok()).is_none_or(|minor| minor >= 20)
}

/// Import path by folder.
fn packages(go: &str, records: &[Record], link: &mut Link) -> Result<HashMap<PathBuf, String>, Failure> {
    if records.is_empty() {
        return Ok(HashMap::new());
    }
    let mut ask: Vec<String> = [go, "list", "-e", "-f", "{{.Dir}}\t{{.ImportPath}}"].map(str::to_owned).into();
    ask.extend(records.iter().map(|r| r.cwd().to_string_lossy().into_owned()));
    let text = tool::run(&ask, &[], link)?.text(&ask)?;
    Ok(text.lines().filter_map(|l| l.split_once('\t')).map(|(d, p)| (PathBuf::from(d), p.to_owned())).collect())
}

/// Tests that `-skip` leaves out, whole.
fn skipped(record: &Record, link: &mut Link) -> Result<Vec<String>, Failure> {
    let skip = record.argv().iter().find_map(|w| Some(w.to_str()?.strip_prefix("-test.skip=")?.to_owned()));
    let Some(skip) = skip.filter(|s| !s.contains('/')) else { return Ok(Vec::new()) };
    let ask = [record.program().to_string_lossy().into_owned(), format!("-test.list={skip}")];
    Ok(tool::run(&ask, &[], link)?.text(&ask)?.lines().map(str::to_owned).collect())
}

/// Packages that go says it could not build, with what the compiler said.
fn broken_packages(stdout: &str, stderr: &str) -> Vec<(String, String)> {
    let failed = stdout.lines().filter_map(|line| {
        let line = line.strip_prefix("FAIL\t")?;
        let package = line.strip_suffix(" [build failed]").or_else(|| line.strip_suffix(" [setup failed]"))?;
        Some(package.trim().to_owned())
    });
    failed
        .map(|package| {
            let (mut why, mut inside) = (String::new(), false);
            for line in stderr.lines() {
                if let Some(header) = line.strip_prefix("# ") {
                    inside =
                        header.split(' ').next() == Some(&package) || header.contains(&format!("[{package}.test]"));
                }
                if inside {
                    why.push_str(line);
                    why.push('\n');
                }
            }
            let why = if why.is_empty() { stderr.to_owned() } else { why };
            (package, why)
        })
        .collect()
}

impl GoTest {
    fn add(
        &mut self,
        record: &Record,
        packages: &HashMap<PathBuf, String>,
        left_out: &[String],
        parts: HashMap<String, Vec<String>>,
    ) {
        let cwd = record.cwd();
        let package = packages.get(&cwd).cloned().unwrap_or_else(|| cwd.to_string_lossy().into_owned());
        let mut argv = record.argv();
        // where go writes down what was read is gone with its folder; the rest is said anew for each batch
        let own = ["-test.testlogfile=", "-test.run=", "-test.v", "-test.count="];
        argv.retain(|w| !own.iter().any(|o| w.to_string_lossy().starts_with(o)));
        let number = self.programs.len();
        for name in record.list.lines().filter(|name| is_test(name) && !left_out.iter().any(|l| l == name)) {
            self.tests.push(Ok((number, name.to_owned())));
            self.found.push(Found { id: format!("{package} {name}"), file: package.clone(), group: None });
        }
        self.programs.push(Program { package, argv, parts, env: record.env(), cwd });
    }
}

/// What `-test.list` prints and `-test.run` runs: no benchmark, and not the last line `ok …`.
fn is_test(name: &str) -> bool {
    ["Test", "Example", "Fuzz"].iter().any(|kind| name.starts_with(kind)) && !name.contains(['\t', ' '])
}

/// The alternatives of a `-run` expression, each for tests and for their subtests: what stands before and after the
/// first `/`, as go takes it apart.
fn alternatives(run: &str) -> Vec<(String, String)> {
    let (mut found, mut depth) = (vec![(String::new(), None::<String>)], 0_i32);
    for c in run.chars() {
        match c {
            '[' | '(' => depth += 1,
            ']' | ')' => depth -= 1,
            '|' if depth == 0 => {
                found.push((String::new(), None));
                continue;
            }
            _ => {}
        }
        let Some((test, parts)) = found.last_mut() else { break };
        match parts {
            Some(parts) => parts.push(c),
            None if c == '/' && depth == 0 => *parts = Some("/".to_owned()),
            None => test.push(c),
        }
    }
    found.into_iter().map(|(test, parts)| (test, parts.unwrap_or_default())).collect()
}

/// The expression for whole tests that a `-run` expression chooses from.
pub(super) fn of_tests(run: &str) -> String {
    alternatives(run).into_iter().map(|(test, _)| test).collect::<Vec<_>>().join("|")
}

/// What `-run` says of the subtests of which test. Which tests an alternative means is asked of the program.
fn parts_of(record: &Record, link: &mut Link) -> Result<HashMap<String, Vec<String>>, Failure> {
    let run = record.argv().iter().find_map(|w| Some(w.to_str()?.strip_prefix("-test.run=")?.to_owned()));
    let all = alternatives(run.as_deref().unwrap_or(""));
    let mut found: HashMap<String, Vec<String>> = HashMap::new();
    if all.iter().all(|(_, parts)| parts.is_empty()) {
        return Ok(found);
    }
    for (test, parts) in all {
        let ask = [record.program().to_string_lossy().into_owned(), format!("-test.list={test}")];
        for name in tool::run(&ask, &[], link)?.text(&ask)?.lines() {
            found.entry(name.to_owned()).or_default().push(parts.clone());
        }
    }
    Ok(found)
}

/// The `-run` expression for these tests and what was said of their subtests.
fn expression(names: &[&str], parts: &HashMap<String, Vec<String>>) -> String {
    let mut by_parts: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for name in names {
        match parts.get(*name) {
            None => by_parts.entry("").or_default().push(name),
            Some(all) => all.iter().for_each(|parts| by_parts.entry(parts).or_default().push(name)),
        }
    }
    let all = by_parts.into_iter().map(|(parts, names)| format!("^({})${parts}", names.join("|")));
    all.collect::<Vec<_>>().join("|")
}

impl Suite for GoTest {
    fn tests(&self) -> &[Found] {
        &self.found
    }

    fn asks(&self) -> Asks {
        Asks { startup_us: Some(STARTUP_US), ..Asks::default() }
    }

    fn forked(&mut self) {
        if let Some(captures) = self.captures.take() {
            captures.keep();
        }
    }

    fn known(&mut self, test: u32) -> Option<Verdict> {
        self.tests.get(test as usize)?.as_ref().err().cloned()
    }

    fn launch(
        &mut self,
        queue: &VecDeque<u32>,
        most: &dyn Fn(u32) -> usize,
        _attempt: u32,
        slot: &SlotEnv,
    ) -> Result<Launch, String> {
        let place = |test: u32| self.tests.get(test as usize).and_then(|t| t.as_ref().ok());
        let head = queue.front().copied().unwrap_or_default();
        let number = place(head).ok_or("the manifest has no such test")?.0;
        let program = &self.programs[number];
        let tests = gather(queue, most, |test| place(test).is_some_and(|(p, _)| *p == number));
        let names: Vec<&str> = tests.iter().filter_map(|t| place(*t)).map(|(_, name)| name.as_str()).collect();
        let at = program.argv.iter().position(|w| Path::new(w).is_absolute()).unwrap_or(0);
        let mut argv: Vec<OsString> = vec![self.converter.clone(), "-t".into(), "-p".into(), (&program.package).into()];
        argv.extend(program.argv[..=at].iter().cloned());
        argv.extend([
            format!("-test.v={}", self.verbose).into(),
            format!("-test.run={}", expression(&names, &program.parts)).into(),
        ]);
        argv.extend(program.argv[at + 1..].iter().cloned());
        let reader = Json::new(names.iter().map(ToString::to_string).zip(tests.iter().copied()));
        let env = over(&program.env, slot.all.iter().cloned());
        let limits = Limits { test: self.timeout, grace: self.grace, ..Limits::default() };
        Ok(Launch { tests, argv, env, cwd: program.cwd.clone(), limits, merged: true, reader: Box::new(reader) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_expression_is_cut_where_subtests_begin() {
        let pair = |test: &str, parts: &str| (test.to_owned(), parts.to_owned());
        assert_eq!(alternatives("TestA/n=1/x"), [pair("TestA", "/n=1/x")]);
        assert_eq!(alternatives("Test[/|]A|B/c"), [pair("Test[/|]A", ""), pair("B", "/c")]);
        assert_eq!(of_tests("A/x|(B|C)/y"), "A|(B|C)");
        let parts = [("A".to_owned(), vec!["/x".to_owned()])].into();
        assert_eq!(expression(&["A", "B", "C"], &parts), "^(B|C)$|^(A)$/x");
    }

    #[test]
    fn lines_are_marked_from_go_1_20_on() {
        let versions = ["go1.19.8\n", "go1.20", "go1.22rc1\n", "devel go1.23-abc"];
        assert_eq!(versions.map(marks_its_lines), [false, true, true, true]);
    }

    #[test]
    fn packages_that_cannot_be_built_are_named_with_the_reason() {
        let stdout = "ok  \tm/a\t0.1s\nFAIL\tm/b [build failed]\nFAIL\n";
        let stderr = "# m/c\nother\n# m/b [m/b.test]\n./b_test.go:8:31: undefined: x\n";
        let found = broken_packages(stdout, stderr);
        assert_eq!(found, [("m/b".to_owned(), "# m/b [m/b.test]\n./b_test.go:8:31: undefined: x\n".to_owned())]);
    }
}
