//! Results of locked tests that wait for their runner's end. The store gives locks back with a claim's last result, and
//! fixtures of modules and sessions, which may still use what is locked, are torn down later than that.
//!
//! `suites` decides which result is a claim's last one; `departures` tells when a runner has ended.

use std::time::Instant;

use remuda_protocol::outcome::{Detail, Outcome};

use super::Daemon;
use super::slots::{Abort, Assignment};

/// The last result of a claim with locks.
#[derive(Clone, Debug)]
pub(super) struct Owed {
    pub(super) assignment: Assignment,
    /// `None`: given back.
    pub(super) outcome: Option<Outcome>,
    pub(super) us: u64,
    pub(super) wide_us: u64,
    pub(super) detail: Detail,
    pub(super) since: Instant,
}

impl Daemon {
    /// Hands in what a suite's runner has done with a task; if its locks would go with it, only when that runner has
    /// torn down and ended.
    pub(super) fn report_from_runner(&mut self, slot: u32, owed: Owed) {
        let it = &self.slots[slot as usize];
        let last = !owed.assignment.locks.is_empty() && !it.holds(owed.assignment.fence);
        match it.runner.as_ref().map(|r| r.generation) {
            Some(generation) if last => {
                self.owed.insert(generation, owed);
                self.retire_runner(slot);
            }
            _ => self.pay(&owed),
        }
    }

    /// A runner has ended with everything beneath it.
    pub(super) fn pay_for(&mut self, generation: u64) {
        if let Some(owed) = self.owed.remove(&generation) {
            self.pay(&owed);
        }
    }

    fn pay(&mut self, owed: &Owed) {
        self.report(&owed.assignment, owed.outcome, owed.us, owed.wide_us, &owed.detail);
        self.mind_failure(&owed.assignment, owed.outcome);
    }

    /// A claim whose last result waits here is not ours any more, or shall end now.
    pub(super) fn stop_owed(&mut self, fence: u64, why: Abort) {
        let found = self.owed.iter_mut().find(|(_, o)| o.assignment.fence == fence);
        if let Some((&generation, owed)) = found {
            if why == Abort::Lost {
                owed.assignment.abort = Some(why);
            }
            self.kill_retired(generation);
        }
    }

    /// A teardown may take as long as a test.
    pub(super) fn tick_owed(&mut self, now: Instant) {
        let late = |owed: &Owed| {
            let Some(super::jobs::Job::Ready(spec)) = self.jobs.get(&owed.assignment.job) else { return false };
            let limit = super::limits::patience(&spec.groups[owed.assignment.group as usize]);
            limit.is_some_and(|limit| now.saturating_duration_since(owed.since) > limit)
        };
        let late: Vec<u64> = self.owed.iter().filter(|(_, o)| late(o)).map(|(&generation, _)| generation).collect();
        for generation in late {
            self.kill_retired(generation);
        }
    }

    fn kill_retired(&self, generation: u64) {
        for loader in self.loaders.values() {
            if let Some(monitor) = loader.retired.iter().find(|r| r.generation == generation).and_then(|r| r.monitor) {
                let _ = loader.keeper.kill_tree(monitor);
            }
        }
    }
}
