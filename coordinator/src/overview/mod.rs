//! What is on a farm at this moment, read for people: jobs, what runs where, what waits and why. `commands/status`,
//! `explain` and `workers` show it. Reads only; follows nothing.

pub mod crew;
pub mod tasks;
pub mod waits;

use std::time::Duration;

use remuda_protocol::lifecycle::JobState;
use remuda_protocol::outcome::Outcome;
use remuda_protocol::spec::{GroupKind, JobSpec};
use remuda_store::{GroupSnapshot, JobHead, JobSnapshot, Pool, Refusal, Store, StoreError};

use crate::follow::fit;
use crate::report::reason;

pub use crew::{RunningTask, Worker, workers};

/// A job with everything that is known of it now.
#[derive(Clone, Debug)]
pub struct Overview {
    /// Its head.
    pub head: JobHead,
    /// Its spec.
    pub spec: JobSpec,
    /// Its groups.
    pub state: JobSnapshot,
    /// All workers of the farm.
    pub workers: Vec<Worker>,
    /// Pools of the farm.
    pub pools: Vec<Pool>,
    /// Redis time, ms.
    pub now_ms: u64,
}

impl Overview {
    /// Reads a job.
    ///
    /// # Errors
    /// The server's, or the job has gone.
    pub async fn read(store: &Store, head: JobHead) -> Result<Self, StoreError> {
        let (spec, mut state) = (store.spec(&head.id).await?, store.snapshot(&head.id).await?);
        for group in &mut state.groups {
            group.reason = reason::plain(&spec, &group.reason);
        }
        Ok(Self {
            spec,
            state,
            workers: workers(store).await?,
            pools: store.pools().await?,
            now_ms: store.now_ms().await?,
            head,
        })
    }

    /// What runs of this job, with its worker.
    pub fn running(&self) -> impl Iterator<Item = (&Worker, &RunningTask)> {
        self.workers
            .iter()
            .flat_map(|worker| worker.running.iter().map(move |task| (worker, task)))
            .filter(|(_, task)| task.job == self.head.id)
    }

    /// Workers of the farm that cannot run this job, and why.
    pub fn refusals(&self) -> impl Iterator<Item = (&Worker, &Refusal)> {
        let said = |worker: &Worker| {
            let its = |r: &&Refusal| fit::refused(&worker.books, std::slice::from_ref(*r));
            self.state.refusals.iter().find(its)
        };
        self.workers.iter().filter_map(move |worker| Some((worker, said(worker)?)))
    }

    /// From its start to its end, or until now.
    #[must_use]
    pub fn took(&self) -> Duration {
        took(&self.head, self.now_ms)
    }
}

/// Since a job's start, whether it has ended or not.
#[must_use]
pub fn since(head: &JobHead, now_ms: u64) -> Duration {
    Duration::from_millis(now_ms.saturating_sub(head.created_ms))
}

/// From a job's start to its end, or until now.
#[must_use]
pub fn took(head: &JobHead, now_ms: u64) -> Duration {
    Duration::from_millis(head.ended_ms.unwrap_or(now_ms).saturating_sub(head.created_ms))
}

/// How far a job's tests are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Far {
    /// Ended otherwise than by being cancelled.
    pub done: u32,
    /// Cancelled: most of them have never run.
    pub cancelled: u32,
    /// Known.
    pub total: u32,
    /// Failed, errored, timed out or lost.
    pub failed: u32,
    /// In slots' hands.
    pub running: u32,
    /// Tasks of provisioning.
    pub others: u32,
    /// Measured attempts, and what they took together, µs.
    measured: (u64, u64),
}

impl Far {
    /// Sums up groups of tests.
    #[must_use]
    pub fn of(groups: &[GroupSnapshot]) -> Self {
        let (tests, rest): (Vec<_>, Vec<_>) = groups.iter().partition(|g| g.kind == GroupKind::Tests.word());
        let provisioning = rest.iter().filter(|g| g.kind == GroupKind::Provision.word());
        let others = provisioning.map(|g| g.added).sum();
        let of = |group: &GroupSnapshot, which: fn(Outcome) -> bool| -> u32 {
            Outcome::ALL.iter().zip(group.ended).filter(|(o, _)| which(**o)).map(|(_, n)| n).sum()
        };
        tests.iter().fold(Self { others, ..Self::default() }, |sum, group| Self {
            others,
            done: sum.done + of(group, |outcome| outcome != Outcome::Cancelled),
            cancelled: sum.cancelled + of(group, |outcome| outcome == Outcome::Cancelled),
            total: sum.total + group.added,
            failed: sum.failed + of(group, Outcome::is_failure),
            running: sum.running + group.running,
            measured: (sum.measured.0 + group.measured.0, sum.measured.1 + group.measured.1),
        })
    }

    /// `120 of 540 done, 1 failed, 4 running`.
    #[must_use]
    pub fn sentence(&self) -> String {
        let mut text = format!("{} of {} done", self.done, self.total);
        for (n, word) in [(self.failed, "failed"), (self.running, "running")] {
            if n > 0 {
                text.push_str(&format!(", {n} {word}"));
            }
        }
        text
    }

    /// Known and not ended.
    #[must_use]
    pub fn left(&self) -> u32 {
        self.total.saturating_sub(self.done + self.cancelled)
    }

    /// How long it will still take with the `slots` that run it now, from what its tests took so far; `None` if it stands.
    #[must_use]
    pub fn eta(&self, slots: usize) -> Option<Duration> {
        let left = u64::from(self.left());
        let mean = self.measured.1.checked_div(self.measured.0)?;
        (left > 0 && slots > 0).then(|| Duration::from_micros(mean * left / slots as u64))
    }
}

/// A job's state in a word for people.
#[must_use]
pub fn word<'a>(head: &'a JobHead, far: &Far) -> &'a str {
    match JobState::from_word(&head.state) {
        Some(JobState::Passed) if far.total == 0 && far.others == 0 => "empty",
        Some(state) if state.is_over() => &head.state,
        _ if head.state == "closing" => "ending",
        _ if far.running > 0 => "running",
        _ if far.total == 0 => "starting",
        _ => "waiting",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(added: u32, ended: [u32; 7], measured: (u64, u64)) -> GroupSnapshot {
        GroupSnapshot { kind: "tests".into(), added, ended, measured, ..GroupSnapshot::default() }
    }

    #[test]
    fn the_rest_takes_what_the_first_took() {
        let far = Far::of(&[
            group(13, [3, 1, 0, 0, 0, 1, 3], (4, 8_000_000)),
            GroupSnapshot { kind: "collect".into(), added: 1, ..GroupSnapshot::default() },
        ]);
        assert_eq!((far.done, far.total, far.failed), (5, 13, 1), "what was cancelled is not done");
        assert_eq!(far.sentence(), "5 of 13 done, 1 failed");
        assert_eq!(far.eta(2), Some(Duration::from_secs(5)));
        assert_eq!((far.eta(0), Far::default().eta(2)), (None, None));
    }

    #[test]
    fn a_job_without_anything_to_run_has_not_passed() {
        let head = JobHead { state: "passed".into(), ..JobHead::default() };
        let up = GroupSnapshot { kind: "provision".into(), added: 1, ..GroupSnapshot::default() };
        assert_eq!(word(&head, &Far::of(&[group(0, [0; 7], (0, 0))])), "empty");
        assert_eq!(word(&head, &Far::of(&[group(1, [1, 0, 0, 0, 0, 0, 0], (0, 0))])), "passed");
        assert_eq!(word(&head, &Far::of(&[up])), "passed");
    }
}
