//! Stepping aside: what this host cannot run is given back while other workers can, and is an error only when there are
//! none (docs/adr/0012). `jobs` and `suites` find out what cannot be run; the store knows who else is there, and hands
//! this worker nothing more of such a job. Nothing is started or killed here.

use std::collections::HashSet;

use remuda_protocol::outcome::{Detail, Outcome};
use remuda_store::{Refused, StoreError};

use super::inbox::Message;
use super::owed::Owed;
use super::slots::{Abort, Assignment};
use super::{Daemon, LONG_PATIENCE};

/// Jobs about which the store is being asked: one question at a time is enough for all of a job's tasks.
pub(super) type Asking = HashSet<String>;

/// What the store was told.
#[derive(Clone, Debug)]
pub(super) struct Question {
    job: String,
    fence: u64,
    /// Why this host cannot run the job, for whoever follows it.
    why: String,
    /// What a task says that nobody can run.
    error: String,
}

impl Daemon {
    /// Nothing of this job can be run here: what a slot has of it waits for the store's word.
    pub(super) fn cannot_run(&mut self, slot: u32, why: &str) {
        let queue = &mut self.slots[slot as usize].queue;
        queue.iter_mut().for_each(|a| a.misfit = true);
        if let Some((job, fence)) = queue.front().map(|a| (a.job.clone(), a.fence)) {
            self.ask_others(Question { job, fence, why: why.to_owned(), error: why.to_owned() });
        }
    }

    /// The suite as it was loaded here lacks a test that was collected elsewhere.
    pub(super) fn lacks_test(&mut self, missing: &Assignment) {
        let host = &self.settings.host;
        let why = format!("host {host}'s load of the suite has no test {} (another version of the tree?)", missing.id);
        let error = format!("the suite as loaded on {host} has no such test");
        self.ask_others(Question { job: missing.job.clone(), fence: missing.fence, why, error });
    }

    fn ask_others(&mut self, question: Question) {
        if !self.asking.insert(question.job.clone()) {
            return;
        }
        let (store, inbox) = (self.store.patient(LONG_PATIENCE), self.inbox.clone());
        let worker = self.settings.worker.clone();
        tokio::spawn(async move {
            let answer = store.refuse(&worker, question.fence, &question.why).await;
            let _ = inbox.send(Message::Refused(question, answer));
        });
    }

    pub(super) fn on_refused(&mut self, question: &Question, answer: Result<Refused, StoreError>) {
        self.asking.remove(&question.job);
        match answer {
            Ok(Refused::Aside(others)) => {
                tracing::warn!(job = question.job, others, "stepping aside: {}", question.why);
                self.part_with(&question.job, None, "");
            }
            Ok(Refused::Alone) => self.part_with(&question.job, Some(Outcome::Errored), &question.error),
            Ok(Refused::Stale) => {
                self.stop_claim(question.fence, Abort::Lost);
                self.ask_anew(&question.job);
            }
            Err(error) if error.is_outage() => self.ask_anew(&question.job),
            Err(error) => {
                tracing::warn!(%error, "a refusal was not understood");
                self.part_with(&question.job, Some(Outcome::Errored), &question.error);
            }
        }
    }

    /// The next look at what is in hand finds it again.
    fn ask_anew(&mut self, job: &str) {
        let all = self.slots.iter_mut().flat_map(|s| s.queue.iter_mut());
        all.filter(|a| a.job == job).for_each(|a| a.misfit = false);
    }

    /// Hands in what cannot be run of a job: given back, or with this outcome.
    fn part_with(&mut self, job: &str, outcome: Option<Outcome>, message: &str) {
        let detail = Detail { message: message.to_owned(), ..Detail::default() };
        for slot in 0..self.settings.slots {
            let its = |a: &Assignment| a.job == job && a.misfit;
            while let Some(at) = self.slots[slot as usize].queue.iter().position(its) {
                let it = &mut self.slots[slot as usize];
                let Some(assignment) = it.queue.remove(at) else { break };
                // its runner's fixtures may use what a test of the same claim had locked
                let shares = it.runner.as_ref().is_some_and(|r| r.locks == assignment.locks);
                if shares {
                    let (detail, since) = (detail.clone(), std::time::Instant::now());
                    self.report_from_runner(slot, Owed { assignment, outcome, us: 0, wide_us: 0, detail, since });
                } else {
                    self.report(&assignment, outcome, 0, 0, &detail);
                }
            }
        }
    }
}
