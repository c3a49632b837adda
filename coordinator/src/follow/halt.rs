//! `--halt` and `--deadline`: what ends a run before its time. Deciding is pure; ending it is the store's.

use std::time::Duration;

use remuda_protocol::spec::GroupKind;

use super::attached::Run;
use crate::config::limits::{Halt, Share};
use crate::error::Error;

/// The server counts from when the job was opened, which is so much later at most.
const OPENING: Duration = Duration::from_millis(100);

/// Whether so many failures are enough. `total`: tasks known; `complete`: there will be no more.
#[must_use]
pub fn is_due(halt: Halt, failed: u32, total: u32, complete: bool) -> bool {
    match halt.fail {
        Share::Count(most) => failed >= most,
        Share::Percent(percent) => {
            complete && failed > 0 && u64::from(failed) * 100 >= u64::from(total) * u64::from(percent)
        }
    }
}

impl Run {
    /// Ends the run if enough has failed.
    pub(super) async fn look_at_halt(&mut self) -> Result<(), Error> {
        let Some(halt) = self.halt else { return Ok(()) };
        let tests = self.view.total(GroupKind::Tests);
        let failed = tests.counts[1..5].iter().sum();
        if self.halted || !is_due(halt, failed, tests.added, !self.submitting) {
            return self.keep_deadline().await;
        }
        let reason = if halt.soon { "halt" } else { "failures" };
        let cancelled = self.store.cancel(&self.spec.id, reason, None).await;
        self.halted = self.tolerate(cancelled)?.is_some();
        Ok(())
    }

    /// When the whole job is to end, after its start as this program saw it.
    pub(super) fn deadline(&self) -> Option<Duration> {
        self.spec.deadline_ms.map(|ms| Duration::from_millis(ms) + OPENING)
    }

    /// Ends an own job whose time is over: whoever reaps would do it 2 s later.
    pub(super) async fn mind_deadline(&mut self) -> Result<(), Error> {
        let overdue = self.deadline().is_some_and(|at| self.start.elapsed() >= at);
        if overdue && self.options.role.owns() && self.view.reason.is_empty() {
            let cancelled = self.store.cancel(&self.spec.id, "deadline", None).await;
            self.tolerate(cancelled)?;
        }
        Ok(())
    }

    /// A run that only waits for what runs has closed already, and its deadline with it: it is kept from here.
    async fn keep_deadline(&mut self) -> Result<(), Error> {
        let over = self.spec.deadline_ms.is_some_and(|ms| self.start.elapsed().as_millis() > u128::from(ms));
        if self.halted && over && self.view.reason == "halt" {
            let cancelled = self.store.cancel(&self.spec.id, "deadline", None).await;
            self.tolerate(cancelled)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_known_only_when_all_tasks_are() {
        let percent = Halt { soon: true, fail: Share::Percent(30) };
        assert!(!is_due(percent, 3, 10, false) && is_due(percent, 3, 10, true) && !is_due(percent, 2, 10, true));
        assert!(!is_due(percent, 0, 0, true));
        let count = Halt { soon: false, fail: Share::Count(2) };
        assert!(!is_due(count, 1, 2, true) && is_due(count, 2, 9, false));
    }
}
