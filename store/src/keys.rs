//! The keys that Rust code reads; each script makes its own from the same prefix (docs/protocol.md lists all).
//!
//! One farm is one hash tag, so that a claim, its locks and its gates are one atomic script.

use crate::error::StoreError;

/// Most characters of a farm's name.
const NAME: usize = 100;

/// Whether a farm can have this name: it is in the hash tag of every key, in the patterns of ACLs, in channels, and names
/// a folder of each of its workers.
///
/// # Errors
/// [`StoreError::Farm`] says what it cannot be.
pub fn check_farm(name: &str) -> Result<(), StoreError> {
    let fine = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let why = match name {
        "" => "it has no name",
        _ if name.starts_with('.') => "its name begins with `.`",
        _ if !name.chars().all(fine) => "there are characters in its name that it cannot have",
        _ if name.len() > NAME => "its name is too long",
        _ => return Ok(()),
    };
    Err(StoreError::Farm { name: name.chars().take(NAME).collect(), why })
}

/// Makes the keys of one farm.
#[derive(Clone, Debug)]
pub(crate) struct Keys {
    prefix: String,
}

impl Keys {
    pub(crate) fn new(farm: &str) -> Self {
        Self { prefix: format!("remuda:{{{farm}}}:") }
    }

    /// Hash: epoch, fence, run id, last reap. Every script's only declared key; the others derive from it.
    pub(crate) fn meta(&self) -> String {
        self.key("meta")
    }

    /// Hash: a job.
    pub(crate) fn job(&self, job: &str) -> String {
        self.key(&format!("job:{job}"))
    }

    /// String: a job's spec, JSON.
    pub(crate) fn spec(&self, job: &str) -> String {
        self.key(&format!("spec:{job}"))
    }

    /// Hash: a group.
    pub(crate) fn group(&self, job: &str, group: u32) -> String {
        self.key(&format!("group:{job}:{group}"))
    }

    /// List: ids of one bucket of tasks.
    pub(crate) fn ids(&self, job: &str, group: u32, bucket: u32) -> String {
        self.key(&format!("ids:{job}:{group}:{bucket}"))
    }

    /// Hash: records of one bucket of tasks.
    pub(crate) fn records(&self, job: &str, group: u32, bucket: u32) -> String {
        self.key(&format!("rec:{job}:{group}:{bucket}"))
    }

    /// Hash: details of one bucket of tasks, by `task:fence`.
    pub(crate) fn details(&self, job: &str, group: u32, bucket: u32) -> String {
        self.key(&format!("det:{job}:{group}:{bucket}"))
    }

    /// Stream and channel: a job's events.
    pub(crate) fn events(&self, job: &str) -> String {
        self.key(&format!("events:{job}"))
    }

    /// Channel: a job's live output.
    pub(crate) fn live(&self, job: &str) -> String {
        self.key(&format!("log:{job}"))
    }

    /// List: closing words of hosts, JSON.
    pub(crate) fn reports(&self, job: &str) -> String {
        self.key(&format!("result:{job}"))
    }

    /// Hash: workers that cannot run a job, and why.
    pub(crate) fn refused(&self, job: &str) -> String {
        self.key(&format!("refused:{job}"))
    }

    /// Channel: what makes workers beat at once.
    pub(crate) fn control(&self) -> String {
        self.key("control")
    }

    /// Sorted set: workers by the end of their registration.
    pub(crate) fn workers(&self) -> String {
        self.key("workers")
    }

    /// Hash: a worker.
    pub(crate) fn worker(&self, worker: &str) -> String {
        self.key(&format!("w:{worker}"))
    }

    /// Set: fences that a worker holds.
    pub(crate) fn held(&self, worker: &str) -> String {
        self.key(&format!("held:{worker}"))
    }

    /// Hash: a claim.
    pub(crate) fn claim(&self, fence: &str) -> String {
        self.key(&format!("claim:{fence}"))
    }

    /// Sorted set: fences by the end of their lease.
    pub(crate) fn lease(&self) -> String {
        self.key("lease")
    }

    /// Sorted set: jobs by start.
    pub(crate) fn jobs(&self) -> String {
        self.key("jobs")
    }

    /// Sorted set: ended jobs by the time they may be freed.
    pub(crate) fn retire(&self) -> String {
        self.key("retire")
    }

    /// Sorted set: owned jobs by the end of their owner's grace.
    pub(crate) fn owners(&self) -> String {
        self.key("owners")
    }

    /// Hash: how much of each attempt's output has been shown.
    pub(crate) fn logs(&self, job: &str) -> String {
        self.key(&format!("logs:{job}"))
    }

    /// String: the tail of one attempt's output.
    pub(crate) fn tail(&self, job: &str, group: u32, task: u32, fence: u64) -> String {
        self.key(&format!("log:{job}:{group}:{task}:{fence}"))
    }

    /// List: the free items of a pool.
    pub(crate) fn free(&self, pool: &str) -> String {
        self.key(&format!("free:{pool}"))
    }

    /// Hash: definitions of pools.
    pub(crate) fn pools(&self) -> String {
        self.key("pools")
    }

    /// String: what did not pass when a project's group last ran, JSON.
    pub(crate) fn unpassed(&self, project: &str) -> String {
        self.key(&format!("unpassed:{project}"))
    }

    /// List: wake tokens of one profile of labels.
    pub(crate) fn bell(&self, profile: &str) -> String {
        self.key(&format!("bell:{profile}"))
    }

    /// Hash: history of one project and group, by file.
    pub(crate) fn history(&self, project: &str) -> String {
        self.key(&format!("history:{project}"))
    }

    fn key(&self, rest: &str) -> String {
        format!("{}{rest}", self.prefix)
    }
}
