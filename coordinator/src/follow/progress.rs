//! How far a run is: what the bar, the counter and SIGUSR1 show.

use std::time::Duration;

use remuda_protocol::lifecycle::JobState;
use remuda_protocol::spec::GroupKind;

use super::attached::Run;
use super::view::TaskKey;
use crate::error::Error;
use crate::report::console::counter_text;
use crate::report::text::{length, name};
use crate::report::{Fact, Progress};

/// Before, the start of the first tests is most of what was measured.
const SURE: Duration = Duration::from_secs(2);

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
        let (done, total) = (tests.done(), tests.added);
        let collecting = running.iter().any(|r| self.spec.groups[r.task.0 as usize].kind == GroupKind::Collect);
        let since = self.first_claim.filter(|_| complete).map(|first| now.saturating_sub(first));
        let eta = since.and_then(|since| eta(since, done, total));
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

/// How long the rest takes if it goes on as it has since the first test began.
fn eta(since: Duration, done: u32, total: u32) -> Option<Duration> {
    (done > 0 && since >= SURE).then(|| since.mul_f64(f64::from(total.saturating_sub(done)) / f64::from(done)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rest_takes_as_long_as_what_is_done_once_there_is_something_to_go_by() {
        assert_eq!(eta(Duration::from_secs(10), 200, 600), Some(Duration::from_secs(20)));
        assert_eq!((eta(Duration::from_millis(40), 2, 1_000_000), eta(Duration::from_secs(10), 0, 600)), (None, None));
    }
}
