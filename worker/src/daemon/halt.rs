//! What a failure means for a job that stops after a number of them: it is told at once, and if one is enough, what
//! waits in a slot of it is given back before it can start. Whether the job ends is the store's to say. And what a test
//! means that wants to end the run: people are told.

use std::collections::VecDeque;

use remuda_protocol::outcome::{Detail, Outcome};

use super::slots::Assignment;
use super::{Daemon, LONG_PATIENCE};

/// Different ones that are told.
const MOST_STOPS: usize = 20;

impl Daemon {
    /// A task has ended so; its result is in the outbox.
    pub(super) fn mind_failure(&mut self, done: &Assignment, outcome: Option<Outcome>) {
        if !outcome.is_some_and(Outcome::is_failure) {
            return;
        }
        let Some(super::jobs::Job::Ready(spec)) = self.jobs.get(&done.job) else { return };
        let (own, tried_again) = (spec.max_failures, spec.groups[done.group as usize].retries > 0);
        let most = if own > 0 { own } else { self.asked_by_suite(&done.job) };
        if most > 0 {
            self.outbox.hurry();
        }
        if most == 1 && !tried_again {
            self.drop_unstarted_of(&done.job);
        }
    }

    /// After a failure in a job that stops after some, only the store knows whether there is a next one: this slot gives
    /// back what it has not begun, and claims in the same call.
    pub(super) fn ask_before_the_next(&mut self, slot: u32, done: &Assignment, outcome: Option<Outcome>) {
        let Some(super::jobs::Job::Ready(spec)) = self.jobs.get(&done.job) else { return };
        if spec.max_failures == 0 || !outcome.is_some_and(Outcome::is_failure) {
            return;
        }
        self.slots[slot as usize].asks = Some(done.job.clone());
        self.give_back_unsent(slot, |assignment| assignment.job == done.job);
    }

    pub(super) fn give_back_unsent(&mut self, slot: u32, of: impl Fn(&Assignment) -> bool) {
        let queue = &mut self.slots[slot as usize].queue;
        let (unsent, kept): (VecDeque<_>, _) =
            std::mem::take(queue).into_iter().partition(|a| a.sent.is_none() && of(a));
        *queue = kept;
        for assignment in unsent {
            self.report(&assignment, None, 0, 0, &Detail::default());
        }
    }

    fn drop_unstarted_of(&mut self, job: &str) {
        for slot in 0..self.settings.slots {
            if self.slots[slot as usize].work().is_some_and(|(own, _)| own == job) {
                self.drop_unstarted(slot);
            }
        }
    }

    /// Its job ends with what runs: what of this claim has not begun is given back.
    pub(super) fn begin_no_more(&mut self, fence: u64) {
        for slot in 0..self.settings.slots {
            self.give_back_unsent(slot, |assignment| assignment.fence == fence);
            if self.slots[slot as usize].holds(fence) {
                self.drop_unstarted(slot);
            }
        }
    }

    /// The suite told its session to stop (`session.shouldstop`): what runs ends, and nothing more begins anywhere.
    pub(super) fn stop_job(&mut self, slot: u32, generation: u64, reason: &str) {
        let Some(loader) = self.loader_of(slot, generation) else { return };
        if loader.stopped.is_empty() {
            reason.clone_into(&mut loader.stopped);
        }
        let job = loader.job.clone();
        self.drop_unstarted_of(&job);
        let store = self.store.patient(LONG_PATIENCE);
        tokio::spawn(async move {
            if let Err(error) = store.cancel(&job, "halt", None).await {
                tracing::warn!(%error, "the suite's wish to stop was not delivered");
            }
        });
    }

    /// A test ended "the run": serially nothing would have come after it; here the others go on, and people are told.
    pub(super) fn note_stop(&mut self, slot: u32, generation: u64, reason: &str, exit: Option<i32>) {
        if let Some(loader) = self.loader_of(slot, generation) {
            let reason =
                reason.strip_prefix("Exit: ").map_or_else(|| reason.to_owned(), |r| format!("pytest.exit: {r}"));
            let code = exit.map(|code| format!(" (returncode {code})")).unwrap_or_default();
            let text = format!("{reason}{code}: a serial run would have ended here\n");
            // a fixture of the session says it again for each test
            if loader.stops.len() < MOST_STOPS && !loader.stops.contains(&text) {
                loader.stops.push(text);
            }
        }
    }

    /// After how many failures the job's suite wants it to stop; 0: it did not say.
    fn asked_by_suite(&self, job: &str) -> u32 {
        self.loaders.values().filter(|l| l.job == job).find_map(|l| l.options.maxfail).unwrap_or(0)
    }
}
