//! How far a run is: what the bar, the counter and SIGUSR1 show.

use std::sync::atomic::Ordering;

use remuda_protocol::lifecycle::JobState;
use remuda_protocol::spec::GroupKind;

use super::attached::Run;
use super::view::TaskKey;
use crate::error::Error;
use crate::report::console::counter_text;
use crate::report::text::{length, name};
use crate::report::{Fact, Progress};

impl Run {
    /// What runs, where and since when.
    pub(super) fn tell_running(&mut self) -> Result<(), Error> {
        let progress = self.progress();
        self.tell(&Fact::Note(counter_text(&progress)))?;
        for (id, age, place) in progress.running {
            self.tell(&Fact::Note(format!("{} on {place} for {}", name(&id), length(age))))?;
        }
        Ok(())
    }

    pub(super) fn show(&mut self) -> Result<(), Error> {
        let progress = self.progress();
        self.each(|reporter| reporter.progress(&progress))
    }

    fn progress(&self) -> Progress {
        let now = self.start.elapsed();
        let tests = self.view.total(GroupKind::Tests);
        let running = self.view.running();
        let complete = self.view.groups.iter().all(|g| {
            g.kind == Some(GroupKind::Collect) || !matches!(g.state.as_str(), "waiting" | "open" | "collecting")
        });
        let (done, total) = (
            tests.done(),
            tests.added.max(u32::try_from(self.submitted.load(Ordering::Relaxed)).unwrap_or(u32::MAX).min(tests.added)),
        );
        let collecting = running.iter().any(|r| self.spec.groups[r.task.0 as usize].kind == GroupKind::Collect);
        let eta = self
            .first_claim
            .filter(|_| complete && done > 0)
            .map(|first| now.saturating_sub(first) * (total - done) / done);
        Progress {
            elapsed: now,
            phase: match () {
                () if self.evidence.signal.is_some() || self.view.state == "closing" => "Stopping",
                () if JobState::from_word(&self.view.state).is_some_and(JobState::is_over) => "Ending",
                () if collecting && tests.added == 0 => "Collecting",
                () if !running.is_empty() => "Running",
                () if self.submitting && self.waiting.is_empty() => "Submitting",
                () if self.first_claim.is_none() && self.waiting.is_empty() => "Starting",
                () => "Waiting",
            },
            done,
            total,
            complete,
            failed: tests.counts[1..5].iter().sum(),
            running: running
                .iter()
                .map(|r| {
                    (
                        self.running_name(r.task),
                        now.saturating_sub(r.since),
                        self.names.place(&r.slot, r.number).label(),
                    )
                })
                .collect(),
            eta,
            waiting: if self.away_since.is_some() {
                format!("{} does not answer", self.store.address())
            } else {
                self.waiting.clone()
            },
        }
    }

    fn running_name(&self, task: TaskKey) -> String {
        let group = &self.spec.groups[task.0 as usize];
        match group.collects {
            Some(target) => format!("collecting {}", self.spec.groups[target as usize].name),
            None => self.names.id(task).to_string(),
        }
    }
}
