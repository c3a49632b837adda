//! The job spec: everything that decides what runs. Stored once, as JSON, never changed.
//!
//! The coordinator builds it from the command line and `remuda.toml`; the store derives its groups and lanes from
//! it; workers read it to know how to run what they claimed. It must stay free of anything that moves.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

mod check;

pub use check::SpecError;

/// Most groups of one job.
pub const MAX_GROUPS: usize = 128;
/// Most lanes of one job (DESIGN §4.4).
pub const MAX_LANES: usize = 256;
/// Longest task id in bytes; a longer one is refused where it is found.
pub const MAX_ID_BYTES: usize = 64 * 1024;

/// One submission.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JobSpec {
    /// [`crate::PROTOCOL`] of the submitter.
    pub protocol: u32,
    /// Job id, a UUID.
    pub id: String,
    /// What people call it: the command or the file.
    pub name: String,
    /// Who asks; shares go to submitters first.
    pub submitter: String,
    /// Key of its history.
    pub project: String,
    /// Higher is served first.
    pub priority: i32,
    /// Share among the submitter's own jobs.
    pub weight: u32,
    /// Most slots at once, 0 for no limit.
    pub max_slots: u32,
    /// Ends the whole job, ms after its start; `None` for never.
    pub deadline_ms: Option<u64>,
    /// Stop after so many failed tasks, 0 for never.
    pub max_failures: u32,
    /// Then what runs ends by itself, and nothing more begins.
    #[serde(default)]
    pub halt_soon: bool,
    /// A task that passed when tried again counts as failed.
    #[serde(default)]
    pub fail_on_flaky: bool,
    /// What its tasks print is what it is for: whoever follows it passes that on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub echo: Option<Echo>,
    /// Goes on when its coordinator has gone.
    pub detach: bool,
    /// How long an ended job is kept, ms.
    pub retention_ms: u64,
    /// Most bytes of details (messages, output) kept in Redis.
    pub detail_budget: u64,
    /// Where the tree is.
    pub tree: Tree,
    /// Variables of every attempt, by name and value.
    pub env: BTreeMap<String, String>,
    /// Pools that its groups lock.
    pub pools: BTreeMap<String, Vec<String>>,
    /// The graph.
    pub groups: Vec<GroupSpec>,
}

/// How output of tasks is passed on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Echo {
    /// Each line behind its item and a tab.
    pub tag: bool,
    /// In the order of the tasks.
    pub ordered: bool,
}

/// The source tree of a job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tree {
    /// Absolute path of the directory in which attempts run.
    pub path: String,
    /// Host name of the submitter.
    pub host: String,
    /// Identity of the directory on its host (device and inode), so that a worker can tell the same tree from
    /// another one at the same path.
    pub mark: String,
}

/// What a group is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GroupKind {
    /// Tests, or any commands.
    Tests,
    /// The one task that finds the tests of another group.
    Collect,
    /// Provisioning: `count` tasks that run `up`.
    Provision,
}

impl GroupKind {
    /// The word in Redis.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Tests => "tests",
            Self::Collect => "collect",
            Self::Provision => "provision",
        }
    }
}

impl Default for Template {
    fn default() -> Self {
        Self::Argv(Vec::new())
    }
}

/// A command with a place for the item.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Template {
    /// Words given to the program as they are; placeholders are replaced inside each word.
    Argv(Vec<String>),
    /// A line for `sh -c`; placeholders are replaced by the shell-quoted item.
    Shell(String),
}

/// How a warm runner is contained.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Isolation {
    /// A warm runner for each slot.
    #[default]
    Slot,
    /// A fresh fork for every test.
    Test,
}

/// What is kept together on one slot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GroupBy {
    /// Nothing: runs may be split.
    #[default]
    Test,
    /// The tests of a class, or a module's functions.
    Class,
    /// The tests of a file.
    File,
}

/// What knows the framework.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "adapter")]
pub enum Adapter {
    /// One process for each item.
    Command {
        /// What to run.
        template: Template,
    },
    /// pytest, collected once a host and forked.
    Pytest {
        /// The interpreter and, if the user wrote it so, `-m pytest`: words before the arguments.
        program: Vec<String>,
        /// The user's own arguments.
        args: Vec<String>,
        /// Containment.
        isolation: Isolation,
        /// What stays together.
        group_by: GroupBy,
    },
    /// RSpec, loaded once a host and forked.
    Rspec {
        /// Words up to the script: `rspec`, `bundle exec rspec`, `bin/rspec`, `ruby -S rspec`.
        program: Vec<String>,
        /// The user's own arguments.
        args: Vec<String>,
        /// Containment.
        isolation: Isolation,
        /// What stays together: a class is a group of the outermost level.
        group_by: GroupBy,
    },
    /// cargo-nextest: one process for each test, as nextest starts them.
    CargoNextest {
        /// The words before the arguments: `cargo nextest`.
        program: Vec<String>,
        /// The user's own arguments.
        args: Vec<String>,
    },
    /// `cargo test`: the tests of a program batched in processes of libtest.
    CargoTest {
        /// The words before the arguments: `cargo test`.
        program: Vec<String>,
        /// The user's own arguments.
        args: Vec<String>,
    },
    /// `go test`: each package compiled once, its tests in batches.
    GoTest {
        /// The words before the arguments: `go test`.
        program: Vec<String>,
        /// The user's own arguments.
        args: Vec<String>,
    },
    /// Any framework that takes ids on its command line and leaves a report.
    Batch(BatchSpec),
    /// A published adapter of the ABQ native-runner protocol 0.2.
    Abq {
        /// The command that starts it.
        argv: Vec<String>,
    },
}

/// Ids in a template, results read back from a report.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct BatchSpec {
    /// Prints the ids, one a line.
    pub list: Option<Template>,
    /// Ids that are known.
    pub items: Vec<String>,
    /// Runs some of them.
    pub command: Template,
    /// How an id is made of what a report says: `{classname}.{name}`.
    pub id: Option<String>,
    /// Most ids of one process, 0 for no limit.
    pub most: u32,
}

impl Adapter {
    /// Whether it runs the tests of a framework that tells them apart.
    #[must_use]
    pub fn is_framework(&self) -> bool {
        !matches!(self, Self::Command { .. })
    }

    /// Whether the framework's bridge keeps the timeout of a test itself, because only it sees when one begins.
    #[must_use]
    pub fn keeps_time(&self) -> bool {
        matches!(self, Self::CargoNextest { .. } | Self::CargoTest { .. } | Self::GoTest { .. } | Self::Batch(_))
    }
}

/// A group.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GroupSpec {
    /// Its name, unique in the job.
    pub name: String,
    /// What it is for.
    pub kind: GroupKind,
    /// Numbers of the groups that must succeed first.
    pub needs: Vec<u32>,
    /// For a collect group: the number of the group whose tests it finds.
    pub collects: Option<u32>,
    /// How to run its tasks.
    #[serde(flatten)]
    pub adapter: Adapter,
    /// Where its ready tasks wait.
    pub lanes: Vec<LaneSpec>,
    /// Failures forgiven for each task.
    pub retries: u32,
    /// Losses forgiven for each task.
    pub max_losses: u32,
    /// Kill an attempt after so many ms.
    pub timeout_ms: Option<u64>,
    /// Kill an attempt after so many percent of the median of what has passed on its worker; 0 for never.
    #[serde(default)]
    pub timeout_percent: u32,
    /// Between TERM and KILL, ms.
    pub grace_ms: u64,
    /// The same where somebody cancels it.
    #[serde(default = "cancel_grace")]
    pub cancel_grace_ms: u64,
    /// Say that a test is slow after so many ms.
    pub slow_ms: u64,
    /// More variables for its attempts.
    pub env: BTreeMap<String, String>,
    /// Of what is collected only these ids; empty: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub only: Vec<String>,
    /// Keep all that its commands print, byte for byte, in files that the submitter takes away. Heeded by the worker of
    /// an embedded run alone, which shares a private folder with the submitter.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub whole_output: bool,
}

/// So that what is cancelled is dead everywhere within 2 s, whatever it does about it.
pub const CANCEL_GRACE_MS: u64 = 1_500;

fn cancel_grace() -> u64 {
    CANCEL_GRACE_MS
}

/// A lane of a group.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LaneSpec {
    /// Labels a worker must have.
    pub labels: Vec<String>,
    /// How many items of which pools an attempt holds.
    pub locks: BTreeMap<String, u32>,
    /// Claimed only by hosts that have loaded the suite.
    pub warm: bool,
}

impl LaneSpec {
    /// The labels as one canonical word: sorted, joined by commas.
    #[must_use]
    pub fn class(&self) -> String {
        canonical_labels(&self.labels)
    }

    /// The lockset as one canonical word: `pool=n,pool=n`.
    #[must_use]
    pub fn lockset(&self) -> String {
        self.locks.iter().map(|(pool, n)| format!("{pool}={n}")).collect::<Vec<_>>().join(",")
    }
}

/// Labels sorted, without repeats, joined by commas.
#[must_use]
pub fn canonical_labels(labels: &[String]) -> String {
    let mut sorted: Vec<&str> = labels.iter().map(String::as_str).collect();
    sorted.sort_unstable();
    sorted.dedup();
    sorted.join(",")
}
