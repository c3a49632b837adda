//! What a program submits: the limits of its tasks, and the job spec that says the same. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use remuda_protocol::spec::{Adapter, GroupKind, GroupSpec, JobSpec, LaneSpec, Template, Tree};

/// What a worker daemon that takes such a task by mistake runs: it fails and says why.
const NOT_A_COMMAND: &str = "echo 'this task is for code of its own (remuda_worker::TaskQueue); give those workers a farm of their own' >&2; exit 2";
/// Most bytes of messages and output that are kept for one piece of work.
const DETAILS: u64 = 64 << 20;
/// How long an ended job is kept if nobody frees it, ms.
const RETENTION_MS: u64 = 86_400_000;

/// Tasks of one kind and how often and how long each may be tried.
#[derive(Clone, Debug)]
pub struct Work {
    pub(super) name: String,
    submitter: String,
    max_retries: u32,
    max_losses: u32,
    max_failures: u32,
    task_timeout: Option<Duration>,
    priority: i32,
    labels: Vec<String>,
}

impl Work {
    /// Work under a name for people: no retries, no time limit.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            submitter: "library".to_owned(),
            max_retries: 0,
            max_losses: 1,
            max_failures: 0,
            task_timeout: None,
            priority: 0,
            labels: Vec::new(),
        }
    }

    /// Who asks: shares of the farm go to submitters first.
    #[must_use]
    pub fn submitter(self, name: impl Into<String>) -> Self {
        Self { submitter: name.into(), ..self }
    }

    /// Tries a task that failed or expired so often again.
    #[must_use]
    pub fn max_retries(self, n: u32) -> Self {
        Self { max_retries: n, ..self }
    }

    /// Forgives a task so many workers that died with it.
    #[must_use]
    pub fn max_losses(self, n: u32) -> Self {
        Self { max_losses: n, ..self }
    }

    /// Ends everything after so many failed tasks (0: never).
    #[must_use]
    pub fn max_failures(self, n: u32) -> Self {
        Self { max_failures: n, ..self }
    }

    /// An attempt expires after this time; it may ask for less, and never for more.
    #[must_use]
    pub fn task_timeout(self, limit: Duration) -> Self {
        Self { task_timeout: Some(limit), ..self }
    }

    /// Higher is served first.
    #[must_use]
    pub fn priority(self, priority: i32) -> Self {
        Self { priority, ..self }
    }

    /// Only workers with this label.
    #[must_use]
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.labels.push(label.into());
        self
    }

    pub(super) fn spec(&self, job: &str) -> JobSpec {
        let group = GroupSpec {
            name: self.name.clone(),
            kind: GroupKind::Tests,
            needs: Vec::new(),
            collects: None,
            adapter: Adapter::Command { template: Template::Shell(NOT_A_COMMAND.to_owned()) },
            lanes: vec![LaneSpec { labels: self.labels.clone(), ..LaneSpec::default() }],
            retries: self.max_retries,
            max_losses: self.max_losses,
            timeout_ms: self.task_timeout.map(|t| u64::try_from(t.as_millis()).unwrap_or(u64::MAX).max(1)),
            timeout_percent: 0,
            grace_ms: 10_000,
            cancel_grace_ms: 1_500,
            slow_ms: 60_000,
            env: BTreeMap::new(),
            only: Vec::new(),
            whole_output: false,
        };
        JobSpec {
            protocol: remuda_protocol::PROTOCOL,
            id: job.to_owned(),
            name: self.name.clone(),
            submitter: self.submitter.clone(),
            project: self.name.clone(),
            priority: self.priority,
            weight: 1,
            max_slots: 0,
            deadline_ms: None,
            max_failures: self.max_failures,
            halt_soon: false,
            fail_on_flaky: false,
            echo: None,
            detach: false,
            retention_ms: RETENTION_MS,
            detail_budget: DETAILS,
            tree: Tree { path: "/".to_owned(), host: String::new(), mark: String::new() },
            env: BTreeMap::new(),
            pools: BTreeMap::new(),
            groups: vec![group],
        }
    }
}
