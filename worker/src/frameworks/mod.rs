//! The bridge to frameworks that start processes of their own: cargo-nextest, `cargo test`, `go test`, and whatever the
//! `batch` template describes. Towards the daemon it is a loader of ours (docs/runner-protocol.md, `crate::bridge`).
//!
//! ```text
//! loader (bridge.rs) ── builds once and lists, with the framework's own tool (tool.rs)
//!   │ fork, no exec
//!   └─► slot (slot.rs) ──► one process after another (child.rs), each for one test or a batch of them
//!                            its output is read as it comes by the framework's Reader
//! ```
//!
//! A framework is one file: a `Suite`, made by collecting, which says which of the queued tests the next process
//! runs and how it is started, and a `Reader`, which finds results in what that process prints or leaves behind.
//! It starts nothing and keeps no clock. The slot does the rest: a process that ends without a result for each of its
//! tests is split, until the guilty test is alone; a test that passes its limit is killed, and only that one is blamed.

mod batch;
mod bridge;
mod capture;
mod cargo_test;
mod child;
mod go_json;
mod go_test;
mod libtest;
mod nextest;
mod nextest_config;
mod nextest_filter;
mod nextest_list;
mod nextest_platform;
mod running;
mod slot;
mod tool;
mod verdict;

use std::collections::VecDeque;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use remuda_protocol::spec::Adapter;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use verdict::Verdict;

pub(crate) use verdict::STARTUP;

/// The first argument by which a process knows that it is such a bridge.
const MARK: &str = "remuda-framework";

/// The command that starts a bridge beneath a keeper, which is this same program.
#[must_use]
pub fn command() -> Vec<String> {
    vec!["/proc/self/exe".to_owned(), MARK.to_owned()]
}

/// `REMUDA_LOAD` of a bridge.
#[must_use]
pub fn load_settings(adapter: &Adapter, timeout_ms: Option<u64>, grace_ms: u64, slots: u32, job: &str) -> Value {
    json!(Load { adapter: adapter.clone(), timeout_ms, grace_ms, slots, run: job.to_owned() })
}

/// Becomes the bridge, or the capture that it has put into cargo's way, and never returns, if this process was started
/// as one. Call it in `main` beside [`crate::warden::run_if_warden`], before a runtime, a thread or a logger exists.
pub fn run_if_bridge() {
    match std::env::args_os().nth(1) {
        Some(word) if word == MARK && std::env::var_os("REMUDA_RUNNER_FD").is_some() => {
            std::process::exit(crate::bridge::loader::main::<bridge::Frameworks>());
        }
        Some(word) if word == capture::MARK && std::env::var_os(capture::FOLDER).is_some() => {
            std::process::exit(capture::main());
        }
        _ => {}
    }
}

/// `REMUDA_LOAD`.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Load {
    adapter: Adapter,
    /// The group's timeout: it goes before the framework's own.
    timeout_ms: Option<u64>,
    grace_ms: u64,
    slots: u32,
    run: String,
}

impl Load {
    fn timeout(&self) -> Option<Duration> {
        self.timeout_ms.map(Duration::from_millis)
    }
}

/// A test that was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Found {
    id: String,
    /// What is built or loaded together.
    file: String,
    /// Tests of one group run one after the other.
    group: Option<String>,
}

/// What a suite asks of the run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Asks {
    /// Tests that the framework's own filters left out.
    deselected: usize,
    maxfail: Option<u32>,
    slots: Option<u32>,
    /// What one start costs beside its tests, µs.
    startup_us: Option<u64>,
}

/// Variables, in the order in which they were set; the last one counts.
type Env = Vec<(OsString, OsString)>;

/// A process to start.
#[derive(Debug)]
struct Launch {
    /// Positions of the tests that it runs.
    tests: Vec<u32>,
    argv: Vec<OsString>,
    env: Env,
    cwd: PathBuf,
    limits: Limits,
    /// stdout and stderr are one stream, so that their order is kept.
    merged: bool,
    /// Once it has started its tests, more of them cannot be added; whether each is seen when it starts.
    reader: Box<dyn Reader>,
}

/// How long a process may take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Limits {
    /// For one test.
    test: Option<Duration>,
    /// For the whole process.
    whole: Option<Duration>,
    /// Between TERM and KILL.
    grace: Duration,
    /// How long a pipe that outlives the process is read on.
    leak: Duration,
    /// How long what it has started may go on after it.
    lingers: Duration,
}

/// What a reader found.
#[derive(Debug)]
enum Event {
    Started(u32),
    Ended(u32, Verdict),
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Ending {
    status: i32,
    took: Duration,
    /// Something kept its output open.
    leaked: bool,
    /// It was ended at a limit.
    killed: bool,
}

/// Understands one process.
trait Reader: std::fmt::Debug {
    /// What was printed on stdout (0) or stderr (1), as it comes.
    fn output(&mut self, stream: usize, bytes: &[u8]) -> Vec<Event>;
    /// It has ended, and all has been read. Tests without a result by now are run again, alone.
    fn end(&mut self, ending: &Ending) -> Vec<Event>;
    /// What was printed and belongs to a test that got no result: for its report.
    fn rest(&mut self) -> Vec<(String, String)>;
}

/// A framework whose tests have been found.
trait Suite {
    fn tests(&self) -> &[Found];
    fn asks(&self) -> Asks;
    /// This process is a slot's from now on.
    fn forked(&mut self) {}
    /// A test that needs no process.
    fn known(&mut self, _test: u32) -> Option<Verdict> {
        None
    }
    /// The next process for the head of the queue, which is not empty. `most`: with how many
    /// a test may share a process.
    /// `attempt` is that of the first test, from 1.
    fn launch(
        &mut self,
        queue: &VecDeque<u32>,
        most: &dyn Fn(u32) -> usize,
        attempt: u32,
        slot: &SlotEnv,
    ) -> Result<Launch, String>;
    /// Whether a test that ended so is run again at once, and after which pause.
    fn again(&self, _test: u32, _attempt: u32) -> Option<Duration> {
        None
    }
    /// Most attempts of a test.
    fn attempts(&self, _test: u32) -> u32 {
        1
    }
    /// A flaky pass is a failure.
    fn flaky_fails(&self, _test: u32) -> bool {
        false
    }
    /// What is told at the end.
    fn summary(&self) -> String {
        String::new()
    }
}

/// Variables of a slot.
#[derive(Clone, Debug, Default)]
struct SlotEnv {
    all: Env,
}

impl SlotEnv {
    fn get(&self, name: &str) -> Option<&str> {
        self.all.iter().rev().find(|(n, _)| n == name).and_then(|(_, v)| v.to_str())
    }
}

/// The head of the queue and those after it that are `mine`, as many as they all allow.
fn gather(queue: &VecDeque<u32>, most: &dyn Fn(u32) -> usize, mine: impl Fn(u32) -> bool) -> Vec<u32> {
    let mut tests = Vec::new();
    let mut limit = usize::MAX;
    for &test in queue.iter().filter(|test| mine(**test)) {
        let allowed = limit.min(most(test).max(1));
        if tests.len() < allowed {
            tests.push(test);
            limit = allowed;
        }
    }
    tests
}

/// `base` with `more` over it.
fn over(base: &Env, more: impl IntoIterator<Item = (OsString, OsString)>) -> Env {
    let mut all = base.clone();
    for (name, value) in more {
        match all.iter_mut().find(|(n, _)| *n == name) {
            Some(entry) => entry.1 = value,
            None => all.push((name, value)),
        }
    }
    all
}
