//! The messages of docs/runner-protocol.md.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One collected test.
#[derive(Clone, Debug, Deserialize)]
pub struct Test {
    /// Its id.
    pub id: String,
    /// Its file.
    #[serde(default)]
    pub file: String,
    /// Class or module that shares fixtures.
    #[serde(default)]
    pub scope: String,
    /// Name under which the suite itself keeps tests on one runner.
    #[serde(default)]
    pub group: Option<String>,
    /// Among the first that the suite wants run.
    #[serde(skip)]
    pub first: bool,
}

/// What the suite's own settings ask of us.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Options {
    /// Slots: a number or `auto`.
    pub slots: Option<Value>,
    /// Stop after so many failures.
    pub maxfail: Option<u32>,
    /// `test`, `class`, `file`, or `group` where tests have one.
    pub group_by: Option<String>,
    /// What one start of a process costs beside its tests, µs: learned as they run.
    pub startup_us: Option<u64>,
    /// What tests print past the capture shall be seen as it comes.
    pub live: bool,
    /// One slot, in collection order.
    pub ordered: bool,
    /// So many tests at the head go before all others.
    pub first: usize,
    /// It wants to talk to a person at a terminal.
    pub debugger: bool,
}

/// A result of one test.
#[derive(Clone, Debug, Deserialize)]
pub struct TestResult {
    /// Position in the manifest.
    pub test: u32,
    /// The framework's word.
    pub outcome: String,
    /// Set-up, call, teardown, µs.
    #[serde(default)]
    pub us: Vec<f64>,
    /// Set-up of wider fixtures: scope, µs.
    #[serde(default)]
    pub wide: Vec<(String, f64)>,
    /// The rest.
    #[serde(default)]
    pub detail: Option<Value>,
}

/// From a loader or a runner.
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum FromRunner {
    /// First message.
    AbqNativeRunnerSpawned {
        /// Name and versions.
        #[serde(default)]
        runner_specification: Value,
    },
    /// Tests, in collection order.
    ManifestPart {
        /// Up to 1,000.
        tests: Vec<Test>,
    },
    /// All tests are known.
    ManifestDone {
        /// How many.
        count: u32,
        /// Whether it may be forked.
        fork: bool,
        /// Why not.
        #[serde(default)]
        why: Option<String>,
        /// What the suite asks for.
        #[serde(default)]
        options: Options,
        /// Where loaders of single slots send their reports, if it may not be forked.
        #[serde(default)]
        controller: Option<String>,
    },
    /// Collection failed.
    ManifestFailure {
        /// `{message}`.
        error: Value,
        /// The framework's exit code; 0 if nothing failed and it only told what it was asked for.
        #[serde(default = "internal_error")]
        exit: i32,
        /// The framework's own words.
        #[serde(default)]
        output: String,
    },
    /// A runner was forked.
    Forked {
        /// The worker's slot.
        slot: u32,
        /// Kill its tree to end everything of that slot.
        pid: i32,
    },
    /// A runner ended.
    Exited {
        /// The worker's slot.
        slot: u32,
        /// The monitor.
        pid: i32,
        /// Wait status.
        #[serde(default)]
        status: i32,
    },
    /// The session has ended.
    Finished {
        /// What the framework prints.
        #[serde(default)]
        summary: String,
        /// Why the session is no success, whatever its tests say.
        #[serde(default)]
        error: Option<String>,
    },
    /// A test began.
    Started {
        /// Position in the manifest.
        test: u32,
    },
    /// A test ended.
    Result(TestResult),
    /// Several ended.
    Results {
        /// In order.
        items: Vec<TestResult>,
    },
    /// Taken out of the queue.
    Dropped {
        /// Positions.
        tests: Vec<u32>,
    },
    /// A wide fixture's teardown failed after its last test.
    Late {
        /// The fixture.
        fixture: String,
        /// Its scope.
        #[serde(default)]
        scope: String,
        /// As of a result.
        #[serde(default)]
        detail: Value,
    },
    /// A test wanted the whole run to end.
    Stop {
        /// Why.
        #[serde(default)]
        reason: String,
        /// With which exit code.
        #[serde(default)]
        exit: Option<i32>,
        /// It told the session so: nothing more shall begin.
        #[serde(default)]
        ends: bool,
    },
    /// After the last teardown.
    Done {},
    /// A word of a newer runner, or one that asks nothing of us.
    #[serde(other)]
    Unknown,
}

/// Who says nothing about how a collection failed has not said that it did not.
fn internal_error() -> i32 {
    3
}

/// To a loader or a runner.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ToRunner<'a> {
    /// Fork a runner; its socket, stdout and stderr are attached.
    Fork {
        /// The worker's slot.
        slot: u32,
        /// Slot number unique in the job.
        number: u32,
        /// Variables.
        env: serde_json::Map<String, Value>,
    },
    /// The runner of this slot ends because of us, and the test in it has not failed.
    Stopped {
        /// The worker's slot.
        slot: u32,
    },
    /// No more work for this host.
    Finish,
    /// Append to the queue.
    Run {
        /// Positions.
        tests: &'a [u32],
        /// Task number and attempt of each, for the test's environment.
        of: &'a [(u32, u32)],
    },
    /// Take out of the queue.
    Drop {
        /// Positions.
        tests: &'a [u32],
    },
    /// Nothing known to come for now.
    Idle,
    /// Nothing will come any more.
    Last,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_that_is_not_known_does_not_end_the_conversation() {
        let message: FromRunner = serde_json::from_str(r#"{"type":"sing","reason":"enough"}"#).unwrap();
        assert!(matches!(message, FromRunner::Unknown));
    }
}
