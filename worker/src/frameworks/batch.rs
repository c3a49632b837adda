//! Any framework that takes ids on its command line and leaves a report: the `batch` template. How many ids share a
//! process is the store's choice, which the cost of a start (measured here) makes larger.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use remuda_protocol::spec::{BatchSpec, Template};

use super::{
    Asks, Ending, Event, Found, Launch, Limits, Load, Reader, SlotEnv, Suite, Verdict, gather, libtest, over, tool,
};
use crate::adapter::batch::{Places, argv};
use crate::adapter::command::clipped;
use crate::adapter::junit::{self, Case};
use crate::bridge::ended_how;
use crate::bridge::loader::{Failure, Link};

/// What a start is taken to cost before one has been measured.
const STARTUP: Duration = Duration::from_millis(200);
/// How long a process that outlives the command may take: bats writes its report in one.
const LINGERS: Duration = Duration::from_secs(1);
/// How a report may name a test if the user does not say; the first one that names an id is taken.
const USUAL: [&str; 9] = [
    "{classname}.{name}",
    "{classname}::{name}",
    "{classname}#{name}",
    "{classname} {name}",
    "{file}",
    "{name}",
    "{suite}.{name}",
    "{classname}",
    "{suite}",
];

#[derive(Debug)]
pub(super) struct Batch {
    spec: BatchSpec,
    found: Vec<Found>,
    startup: Duration,
    timeout: Option<Duration>,
    grace: Duration,
    /// Beneath it are the files of single batches. The loader's own: a slot must not remove it.
    folder: Option<tempfile::TempDir>,
    place: PathBuf,
    env: super::Env,
}

/// Finds the ids: those that are known, or what the command prints.
pub(super) fn collect(load: &Load, spec: &BatchSpec, link: &mut Link) -> Result<Batch, Failure> {
    let failed = |message: String| Failure { message, exit: 3, output: String::new() };
    let folder = tempfile::Builder::new().prefix("remuda-batch-").tempdir();
    let folder = folder.map_err(|e| failed(format!("no folder for reports: {e}")))?;
    let (mut ids, mut startup) = (spec.items.clone(), STARTUP);
    if let Some(list) = &spec.list {
        let line = match list {
            Template::Argv(words) => words.clone(),
            Template::Shell(line) => vec!["/bin/sh".to_owned(), "-c".to_owned(), line.clone()],
        };
        let since = Instant::now();
        let text = tool::run(&line, &[], link)?.text(&line)?;
        startup = since.elapsed();
        ids.extend(text.lines().map(str::trim).filter(|id| !id.is_empty()).map(str::to_owned));
    }
    let found = ids.into_iter().map(|id| Found { id, ..Found::default() }).collect();
    let own = |name: &OsString| name == "REMUDA_LOAD" || name == "REMUDA_RUNNER_FD";
    Ok(Batch {
        spec: spec.clone(),
        found,
        startup,
        timeout: load.timeout(),
        grace: Duration::from_millis(load.grace_ms),
        place: folder.path().to_owned(),
        folder: Some(folder),
        env: std::env::vars_os().filter(|(name, _)| !own(name)).collect(),
    })
}

impl Suite for Batch {
    fn tests(&self) -> &[Found] {
        &self.found
    }

    fn asks(&self) -> Asks {
        let startup_us = u64::try_from(self.startup.as_micros()).ok();
        Asks { startup_us, ..Asks::default() }
    }

    fn forked(&mut self) {
        self.folder.take().map(tempfile::TempDir::keep);
    }

    fn launch(
        &mut self,
        queue: &VecDeque<u32>,
        most: &dyn Fn(u32) -> usize,
        _attempt: u32,
        slot: &SlotEnv,
    ) -> Result<Launch, String> {
        let limit = if self.spec.most == 0 { usize::MAX } else { self.spec.most as usize };
        let tests = gather(queue, &|test| most(test).min(limit), |test| (test as usize) < self.found.len());
        let ids: Vec<&str> = tests.iter().filter_map(|t| self.found.get(*t as usize)).map(|f| f.id.as_str()).collect();
        let folder = tempfile::Builder::new().prefix("b").tempdir_in(&self.place).map_err(|e| e.to_string())?;
        let at = |name: &str| folder.path().join(name);
        let (items, junit, junit_dir, json) = (at("items"), at("junit.xml"), at("junit"), at("results.json"));
        std::fs::create_dir(&junit_dir).map_err(|e| e.to_string())?;
        std::fs::write(&items, ids.iter().map(|id| format!("{id}\n")).collect::<String>())
            .map_err(|e| e.to_string())?;
        let places = Places { items: &items, junit: &junit, junit_dir: &junit_dir, json: &json };
        let argv = argv(&self.spec.command, &ids, &places).into_iter().map(OsString::from).collect();
        let timeout = self.timeout;
        let limits = Limits {
            test: timeout.filter(|_| tests.len() == 1),
            // one that hangs is found by splitting
            whole: timeout.map(|t| t.saturating_mul(u32::try_from(tests.len()).unwrap_or(u32::MAX))),
            grace: self.grace,
            leak: LINGERS,
            lingers: LINGERS,
        };
        let reader = Report {
            ids: ids.iter().map(ToString::to_string).zip(tests.iter().copied()).collect(),
            order: tests.clone(),
            template: self.spec.id.clone(),
            folder,
            printed: Vec::new(),
        };
        let env = over(&self.env, slot.all.iter().cloned());
        let cwd = std::env::current_dir().map_err(|e| e.to_string())?;
        Ok(Launch { tests, argv, env, cwd, limits, merged: true, reader: Box::new(reader) })
    }
}

/// Reads the report of a process when that has ended.
#[derive(Debug)]
struct Report {
    ids: HashMap<String, u32>,
    order: Vec<u32>,
    template: Option<String>,
    folder: tempfile::TempDir,
    printed: Vec<u8>,
}

impl Report {
    /// What was reported, and what is wrong with it.
    fn read(&self) -> (Vec<Case>, Vec<String>) {
        let (mut cases, mut problems) = (Vec::new(), Vec::new());
        let at = |name: &str| self.folder.path().join(name);
        for path in std::iter::once(at("junit.xml")).chain(files_in(&at("junit"))) {
            let Ok(bytes) = std::fs::read(&path) else { continue };
            let (found, problem) = junit::xml(&String::from_utf8_lossy(&bytes));
            cases.extend(found);
            problems.extend(problem.map(|p| format!("the JUnit report cannot be read to its end: {p}")));
        }
        if let Ok(text) = std::fs::read_to_string(at("results.json")) {
            match junit::json(&text) {
                Ok(found) => cases.extend(found),
                Err(problem) => problems.push(problem),
            }
        }
        (cases, problems)
    }

    fn test_of(&self, case: &Case) -> Option<u32> {
        if !case.id.is_empty() {
            return self.ids.get(&case.id).copied();
        }
        match &self.template {
            Some(template) => self.ids.get(&case.id_of(template)).copied(),
            None => USUAL.iter().find_map(|usual| self.ids.get(&case.id_of(usual)).copied()),
        }
    }

    fn printed_now(&self) -> Vec<(String, String)> {
        if self.printed.is_empty() { Vec::new() } else { vec![("output".to_owned(), clipped(&self.printed))] }
    }

    /// What is said of a test that a process has run to its end and not reported.
    fn unreported(&self, cases: &[Case]) -> Verdict {
        let template = self.template.as_deref().unwrap_or(USUAL[0]);
        let named: Vec<String> =
            cases.iter().take(3).map(|c| if c.id.is_empty() { c.id_of(template) } else { c.id.clone() }).collect();
        let message = if named.is_empty() {
            "the command ended well and its report names no test: does it write to {junit}, {junit_dir} or {json}?"
                .to_owned()
        } else {
            format!(
                "the report does not name this test; it names {}: say how an id is made of a report with `id = \"{{classname}}.{{name}}\"` ({{suite}} and {{file}} can be had, too)",
                named.iter().map(|n| format!("`{n}`")).collect::<Vec<_>>().join(", ")
            )
        };
        Verdict { sections: self.printed_now(), ..Verdict::errored(message) }
    }
}

impl Reader for Report {
    fn output(&mut self, _stream: usize, bytes: &[u8]) -> Vec<Event> {
        libtest::keep(&mut self.printed, bytes);
        Vec::new()
    }

    fn end(&mut self, ending: &Ending) -> Vec<Event> {
        let (cases, problems) = self.read();
        let mut parts: BTreeMap<u32, Vec<&Case>> = BTreeMap::new();
        for case in &cases {
            if let Some(test) = self.test_of(case) {
                parts.entry(test).or_default().push(case);
            }
        }
        let ended_well = ending.status == 0 && !ending.killed && problems.is_empty();
        // a report of other names is a mistake that running again does not repair
        let other_names = parts.is_empty() && !cases.is_empty() && !ending.killed && ending.status & 0x7f == 0;
        let mut verdicts: Vec<(u32, Verdict)> = Vec::new();
        for test in &self.order {
            match parts.get(test) {
                Some(cases) => verdicts.push((*test, verdict(cases))),
                None if ended_well || other_names => verdicts.push((*test, self.unreported(&cases))),
                None if self.order.len() == 1 && !problems.is_empty() && !ending.killed => {
                    verdicts.push((
                        *test,
                        Verdict { sections: self.printed_now(), ..Verdict::errored(problems.join("; ")) },
                    ));
                }
                None => {}
            }
        }
        self.mind_the_exit_code(ending, &mut verdicts);
        self.share_the_time(ending, &mut verdicts);
        verdicts.into_iter().map(|(test, verdict)| Event::Ended(test, verdict)).collect()
    }

    fn rest(&mut self) -> Vec<(String, String)> {
        self.printed_now()
    }
}

impl Report {
    /// A command that fails although none of its tests did has something to say.
    fn mind_the_exit_code(&self, ending: &Ending, verdicts: &mut [(u32, Verdict)]) {
        let complete = verdicts.len() == self.order.len();
        if ending.status == 0 || ending.killed || !complete || verdicts.iter().any(|(_, v)| v.is_failure()) {
            return;
        }
        if let Some((_, first)) = verdicts.first_mut() {
            *first = Verdict {
                sections: self.printed_now(),
                ..Verdict::errored(format!(
                    "its command failed ({}) although its report names no failure; look at what it printed",
                    ended_how(ending.status)
                ))
            };
        }
    }

    /// What the tests themselves did not take is the price of the start, which the first one pays.
    fn share_the_time(&self, ending: &Ending, verdicts: &mut [(u32, Verdict)]) {
        let took = ending.took.as_secs_f64() * 1e6;
        let known: f64 = verdicts.iter().filter_map(|(_, v)| v.us).sum();
        let unknown = verdicts.iter().filter(|(_, v)| v.us.is_none()).count();
        if unknown == verdicts.len() {
            // no times at all: an equal share each, and nothing is learned of the start
            let count = u32::try_from(self.order.len()).map_or(1.0, f64::from);
            verdicts.iter_mut().for_each(|(_, v)| v.us = Some(took / count));
            return;
        }
        verdicts.iter_mut().for_each(|(_, v)| v.us = Some(v.us.unwrap_or(0.0)));
        if verdicts.len() == self.order.len()
            && let Some((_, first)) = verdicts.first_mut()
        {
            let startup = (took - known).max(0.0);
            first.startup_us = startup;
            first.us = first.us.map(|us| us + startup);
        }
    }
}

fn files_in(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|e| e.path()).collect();
    files.retain(|path| path.extension().is_some_and(|e| e == "xml"));
    files.sort();
    files
}

/// What several cases of one id amount to: the worst of them.
fn verdict(cases: &[&Case]) -> Verdict {
    let rank =
        |case: &Case| ["errored", "failed", "passed", "skipped"].iter().position(|o| *o == case.outcome).unwrap_or(0);
    let Some(worst) = cases.iter().min_by_key(|case| rank(case)) else { return Verdict::new("passed") };
    let outcome = ["errored", "failed", "passed", "skipped"][rank(worst)];
    let times: Vec<f64> = cases.iter().filter_map(|c| c.time).collect();
    let us = (!times.is_empty()).then(|| times.iter().sum::<f64>() * 1e6);
    let headline = |case: &Case| {
        let said = if case.message.is_empty() { &case.text } else { &case.message };
        let mut lines = said.lines().map(str::trim).filter(|line| !line.is_empty());
        let first = lines.next().unwrap_or("");
        // `sums_test.cc:10` says where, and the next line what
        if is_place(first) { lines.next().unwrap_or(first) } else { first }.to_owned()
    };
    let mut verdict = Verdict { us, ..Verdict::new(outcome) };
    if outcome == "skipped" {
        verdict.reason = headline(worst);
    } else if outcome != "passed" {
        verdict.message = headline(worst);
        verdict.text = if worst.text.is_empty() { worst.message.clone() } else { worst.text.clone() };
    }
    if cases.len() > 1 {
        if verdict.is_failure() {
            verdict.message = format!("{}: {}", worst.name, verdict.message);
        }
        verdict.subtests = cases.iter().map(|c| (c.name.clone(), c.outcome.clone(), c.text.clone())).collect();
    }
    let printed: Vec<&str> = cases.iter().map(|c| c.printed.as_str()).filter(|p| !p.is_empty()).collect();
    if !printed.is_empty() {
        verdict.sections.push(("output".to_owned(), clipped(printed.join("\n").as_bytes())));
    }
    verdict
}

fn is_place(line: &str) -> bool {
    line.rsplit_once(':').is_some_and(|(file, number)| !file.contains(' ') && number.parse::<u32>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(ids: &[&str], junit: Option<&str>) -> Report {
        let folder = tempfile::tempdir().unwrap();
        if let Some(text) = junit {
            std::fs::write(folder.path().join("junit.xml"), text).unwrap();
        }
        Report {
            ids: ids.iter().map(ToString::to_string).zip(0..).collect(),
            order: (0..).take(ids.len()).collect(),
            template: None,
            folder,
            printed: b"words".to_vec(),
        }
    }

    fn ended(report: &mut Report, status: i32) -> Vec<(u32, &'static str, String)> {
        let ending = Ending { status, took: Duration::from_secs(2), leaked: false, killed: false };
        let events = report.end(&ending);
        events
            .into_iter()
            .filter_map(|e| match e {
                Event::Ended(test, v) => Some((test, v.outcome, v.message)),
                Event::Started(_) => None,
            })
            .collect()
    }

    const TWO: &str = r#"<testsuite><testcase classname="A" name="x" time="0.5"/><testcase classname="A" name="y" time="0.5"><failure message="no"/></testcase></testsuite>"#;

    #[test]
    fn a_report_is_matched_to_ids_however_they_are_written() {
        for ids in [["A.x", "A.y"], ["A::x", "A::y"], ["x", "y"]] {
            let found = ended(&mut report(&ids, Some(TWO)), 1 << 8);
            assert_eq!(found, [(0, "passed", String::new()), (1, "failed", "no".to_owned())], "{ids:?}");
        }
    }

    #[test]
    fn a_test_that_is_not_reported_is_an_error_that_says_how_to_repair_it() {
        let found = ended(&mut report(&["A.x", "A.z"], Some(TWO)), 0);
        assert_eq!((found[0].1, found[1].1), ("passed", "errored"));
        assert!(found[1].2.contains("it names `A.x`, `A.y`"), "{}", found[1].2);
        // a crash: whoever has no result is run again
        assert_eq!(ended(&mut report(&["A.x", "A.z"], Some(TWO)), 11).len(), 1);
        assert_eq!(ended(&mut report(&["A.x", "A.z"], None), 1 << 8).len(), 0);
        assert!(ended(&mut report(&["A.x"], None), 0)[0].2.contains("does it write to {junit}"));
    }

    #[test]
    fn a_command_that_fails_without_a_failed_test_is_no_pass() {
        let text = r#"<testsuite><testcase name="x"/></testsuite>"#;
        let found = ended(&mut report(&["x"], Some(text)), 3 << 8);
        assert_eq!(found[0].1, "errored");
        assert!(found[0].2.contains("exit code 3"), "{}", found[0].2);
    }

    #[test]
    fn cases_of_one_id_are_its_parts_and_the_worst_counts() {
        let found = ended(&mut report(&["A"], Some(TWO)), 1 << 8);
        assert_eq!(found, [(0, "failed", "y: no".to_owned())]);
    }
}
