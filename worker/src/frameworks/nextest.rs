//! cargo-nextest: one process for each test, started as nextest starts them. nextest itself builds, lists and filters;
//! how a program is started is captured while it lists (`capture.rs`); what its configuration says of single tests is
//! `nextest_config.rs`'s.

use std::collections::{HashMap, VecDeque};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::capture::{Captures, Record};
use super::libtest::{self, Panic};
use super::nextest_config::{Config, Rules};
use super::nextest_list::{List, RustSuite, list_args};
use super::{Asks, Ending, Event, Found, Launch, Limits, Load, Reader, SlotEnv, Suite, Verdict, over, tool};
use crate::adapter::command::clipped;
use crate::bridge::ended_how;
use crate::bridge::loader::{Failure, Link};

/// One program with tests.
#[derive(Debug)]
struct Program {
    binary_id: String,
    argv: Vec<OsString>,
    env: super::Env,
    cwd: PathBuf,
}

/// One test.
#[derive(Debug)]
struct Test {
    program: usize,
    name: String,
    ignored: bool,
    /// Left out only because it is ignored, or because it is not (`--run-ignored only`).
    skipped: bool,
    rules: Rules,
    /// Its place among those of its group that may run at once.
    group_slot: Option<usize>,
}

#[derive(Debug)]
pub(super) struct Nextest {
    programs: Vec<Program>,
    tests: Vec<Test>,
    found: Vec<Found>,
    asks: Asks,
    timeout: Option<Duration>,
    slots: u32,
    notes: Vec<String>,
}

/// Lets nextest build and list.
pub(super) fn collect(load: &Load, program: &[String], args: &[String], link: &mut Link) -> Result<Nextest, Failure> {
    let failed = |message: String| Failure { message, exit: 3, output: String::new() };
    let captures = Captures::new().map_err(|e| failed(format!("no folder for how tests are started: {e}")))?;
    let variables = captures.variables(false).map_err(|e| failed(e.to_string()))?;
    let mut argv: Vec<String> = program.to_vec();
    argv.extend(["list", "--message-format", "json", "--color", "never"].map(String::from));
    argv.extend(list_args(args));
    let output = tool::run(&argv, &variables, link)?;
    if output.status != 0 {
        return Err(output.failure(&argv));
    }
    let list: List = serde_json::from_slice(&output.stdout)
        .map_err(|e| failed(format!("`{}` did not print the list that was asked for: {e}", argv.join(" "))))?;
    let records = captures.read().map_err(|e| failed(format!("how tests are started could not be read: {e}")))?;
    let config = Config::load(program, args, &list, &records, link)?;
    build(load, &list, &records, &config).map_err(failed)
}

fn build(load: &Load, list: &List, records: &[Record], config: &Config) -> Result<Nextest, String> {
    let by_program: HashMap<&Path, &Record> = records.iter().map(|r| (r.program(), r)).collect();
    let (mut programs, mut tests, mut deselected) = (Vec::new(), Vec::new(), 0);
    for suite in list.rust_suites.values().filter(|s| !s.testcases.is_empty()) {
        let record = by_program.get(suite.binary_path.as_path()).ok_or_else(|| {
            format!(
                "nextest did not start {} through CARGO_TARGET_…_RUNNER: cross compilation is not supported; leave --target out",
                suite.binary_path.display()
            )
        })?;
        let argv = record.argv();
        let at = argv.iter().position(|w| w.as_os_str() == suite.binary_path.as_os_str()).map_or(1, |at| at + 1);
        programs.push(Program {
            binary_id: suite.binary_id.clone(),
            argv: argv[..at].to_vec(),
            env: over(&record.env(), program_variables(list, suite)),
            cwd: suite.cwd.clone(),
        });
        for (name, case) in &suite.testcases {
            // nextest names this reason before others: where nothing of a program runs, it means little
            let skipped = case.filter_match.reason == "ignored" && suite.runs();
            if case.filter_match.status != "matches" && !skipped {
                deselected += 1;
                continue;
            }
            let rules = config.rules(&suite.binary_id, name);
            let (program, name) = (programs.len() - 1, name.clone());
            tests.push(Test { program, name, ignored: case.ignored, skipped, rules, group_slot: None });
        }
    }
    place_groups(&mut tests, config);
    let found = tests.iter().map(|t| found(t, &programs)).collect();
    let asks = Asks { deselected, maxfail: config.max_fail, slots: config.threads, startup_us: None };
    let (timeout, slots, notes) = (load.timeout(), load.slots, config.notes.clone());
    Ok(Nextest { programs, tests, found, asks, timeout, slots, notes })
}

fn found(test: &Test, programs: &[Program]) -> Found {
    let binary = &programs[test.program].binary_id;
    let group = test.group_slot.map(|slot| format!("{}#{slot}", test.rules.group));
    Found { id: format!("{binary} {}", test.name), file: binary.clone(), group }
}

/// The tests of a group with `max-threads = n` become n series: so many run at once, on however many hosts.
fn place_groups(tests: &mut [Test], config: &Config) {
    let mut met: HashMap<String, usize> = HashMap::new();
    for test in tests.iter_mut().filter(|t| !t.skipped) {
        if let Some(&most) = config.groups.get(&test.rules.group) {
            let n = met.entry(test.rules.group.clone()).or_default();
            test.group_slot = Some(*n % most.max(1));
            *n += 1;
        }
    }
}

/// What nextest tells the integration tests of a package while they run, and not while they are listed.
fn program_variables(list: &List, suite: &RustSuite) -> Vec<(OsString, OsString)> {
    if !matches!(suite.kind.as_str(), "test" | "bench") {
        return Vec::new();
    }
    let mut all = Vec::new();
    for (name, path) in list.programs(&suite.package_id) {
        for variable in [
            format!("CARGO_BIN_EXE_{name}"),
            format!("NEXTEST_BIN_EXE_{name}"),
            format!("NEXTEST_BIN_EXE_{}", name.replace('-', "_")),
        ] {
            all.push((variable.into(), path.clone().into_os_string()));
        }
    }
    all
}

impl Suite for Nextest {
    fn tests(&self) -> &[Found] {
        &self.found
    }

    fn asks(&self) -> Asks {
        self.asks.clone()
    }

    fn known(&mut self, test: u32) -> Option<Verdict> {
        let test = self.tests.get(test as usize).filter(|t| t.skipped)?;
        let reason = if test.ignored { "ignored" } else { "not ignored" };
        Some(Verdict { reason: reason.into(), ..Verdict::new("skipped") })
    }

    fn launch(
        &mut self,
        queue: &VecDeque<u32>,
        _most: &dyn Fn(u32) -> usize,
        attempt: u32,
        slot: &SlotEnv,
    ) -> Result<Launch, String> {
        let number = queue.front().copied().unwrap_or_default();
        let test = self.tests.get(number as usize).ok_or("the manifest has no such test")?;
        let program = &self.programs[test.program];
        let mut argv = program.argv.clone();
        argv.extend(["--exact", &test.name, "--nocapture"].map(OsString::from));
        argv.extend(test.ignored.then(|| "--ignored".into()));
        argv.extend(test.rules.extra_args.iter().map(OsString::from));
        let run = slot.get("NEXTEST_RUN_ID").unwrap_or_default();
        let again = if attempt > 1 { format!("#{attempt}") } else { String::new() };
        let group = if test.group_slot.is_some() { test.rules.group.as_str() } else { "@global" };
        let own = [
            ("NEXTEST_TEST_PHASE", "run".to_owned()),
            ("NEXTEST_RUN_MODE", "test".to_owned()),
            ("NEXTEST_TEST_NAME", test.name.clone()),
            ("NEXTEST_ATTEMPT", attempt.to_string()),
            ("NEXTEST_ATTEMPT_ID", format!("{run}:{}${}{again}", program.binary_id, test.name)),
            ("NEXTEST_TOTAL_ATTEMPTS", (test.rules.retries.count + 1).to_string()),
            ("NEXTEST_STRESS_CURRENT", "none".to_owned()),
            ("NEXTEST_STRESS_TOTAL", "none".to_owned()),
            ("NEXTEST_TEST_GLOBAL_SLOT", slot.get("REMUDA_SLOT").unwrap_or("0").to_owned()),
            ("NEXTEST_TEST_GROUP", group.to_owned()),
            ("NEXTEST_TEST_GROUP_SLOT", test.group_slot.map_or_else(|| "none".to_owned(), |n| n.to_string())),
            ("NEXTEST_TEST_THREADS", self.slots.to_string()),
        ];
        let env = over(&program.env, slot.all.iter().cloned().chain(own.map(|(n, v)| (n.into(), v.into()))));
        let limits = Limits {
            test: [self.timeout, test.rules.timeout].into_iter().flatten().min(),
            whole: None,
            grace: test.rules.grace,
            leak: test.rules.leak,
            lingers: Duration::ZERO,
        };
        let reader = Box::new(One {
            test: number,
            pass_on_timeout: test.rules.pass_on_timeout,
            leak_fails: test.rules.leak_fails,
            ..One::default()
        });
        Ok(Launch { tests: vec![number], argv, env, cwd: program.cwd.clone(), limits, merged: false, reader })
    }

    fn attempts(&self, test: u32) -> u32 {
        self.tests.get(test as usize).map_or(1, |t| t.rules.retries.count + 1)
    }

    fn again(&self, test: u32, attempt: u32) -> Option<Duration> {
        self.tests.get(test as usize).map(|t| t.rules.retries.pause(attempt))
    }

    fn flaky_fails(&self, test: u32) -> bool {
        self.tests.get(test as usize).is_some_and(|t| t.rules.flaky_fails)
    }

    fn summary(&self) -> String {
        self.notes.join("\n")
    }
}

/// Reads a process of one test: its end is the verdict.
#[derive(Debug, Default)]
struct One {
    test: u32,
    pass_on_timeout: bool,
    leak_fails: bool,
    printed: [Vec<u8>; 2],
}

impl Reader for One {
    fn output(&mut self, stream: usize, bytes: &[u8]) -> Vec<Event> {
        libtest::keep(&mut self.printed[stream], bytes);
        Vec::new()
    }

    fn end(&mut self, ending: &Ending) -> Vec<Event> {
        if ending.killed {
            let passed =
                Verdict { reason: "ended at its timeout, which counts as a pass".into(), ..Verdict::new("passed") };
            return if self.pass_on_timeout { vec![Event::Ended(self.test, passed)] } else { Vec::new() };
        }
        let us = Some(ending.took.as_secs_f64() * 1e6);
        let verdict = match (ending.status, ending.leaked && self.leak_fails) {
            // what libtest itself says of a pass is worth no byte
            (0, false) if self.printed[1].is_empty() && libtest::says_only_ok(&self.printed[0]) => {
                Verdict::new("passed")
            }
            (0, false) => Verdict { sections: self.rest(), ..Verdict::new("passed") },
            (0, true) => Verdict {
                message: "it left a process that holds its output open".into(),
                sections: self.rest(),
                ..Verdict::new("failed")
            },
            (status, _) => {
                let printed = String::from_utf8_lossy(&self.printed[1]).into_owned();
                let Panic { message, location } = libtest::panic_in(&printed);
                let message = if message.is_empty() { ended_how(status) } else { message };
                Verdict { message, location, sections: self.rest(), ..Verdict::new("failed") }
            }
        };
        vec![Event::Ended(self.test, Verdict { us, ..verdict })]
    }

    fn rest(&mut self) -> Vec<(String, String)> {
        let named = ["stdout", "stderr"].into_iter().zip(self.printed.iter_mut().map(std::mem::take));
        named.filter(|(_, bytes)| !bytes.is_empty()).map(|(name, bytes)| (name.to_owned(), clipped(&bytes))).collect()
    }
}
