//! How a run is closed: the view made true, tasks that never ran given their fate, hosts heard, the verdict told.

use std::time::Duration;

use remuda_protocol::outcome::Outcome;
use remuda_protocol::spec::{Adapter, GroupKind};
use remuda_store::HostReport;

use super::attached::Run;
use super::verdict::verdict;
use super::view::Change;
use crate::error::{Error, Exit};
use crate::job::pytest;
use crate::report::{Fact, Summary};

/// How long hosts may take for their closing words (their frameworks write coverage, caches and reports then).
const HOSTS: Duration = Duration::from_secs(60);
/// How often they are asked for.
const ASK: Duration = Duration::from_millis(25);
/// Fates told in one go.
const FATES: usize = 1_000;

impl Run {
    /// Closes a job that has ended; returns how.
    ///
    /// # Errors
    /// Redis is gone, or a report cannot be written.
    pub async fn close(&mut self) -> Result<Exit, Error> {
        self.catch_up().await?;
        self.reconcile().await?;
        self.fates().await?;
        let reports = self.hear_hosts().await?;
        let late: usize = reports.iter().map(|r| r.late.len()).sum();
        self.evidence.late = u32::try_from(late).unwrap_or(u32::MAX);
        let stopped = reports.iter().find(|r| !r.stopped.is_empty());
        self.evidence.stopped = stopped.map(|r| r.stopped.clone()).unwrap_or_default();
        self.evidence.failed_ends = reports.iter().any(|r| !r.failed.is_empty());
        for report in reports {
            self.tell(&Fact::Host(report))?;
        }
        for note in self.reports_of_each_worker() {
            self.tell(&Fact::Note(note))?;
        }
        if let Some(error) = self.failed_to_submit.take() {
            return Err(error);
        }
        let (exit, because) = verdict(&self.view, &self.evidence);
        let summary = self.summary(exit, because);
        self.tell(&Fact::Finished(summary))?;
        Ok(exit)
    }

    /// A suite's own report files where several workers ran the suite: each holds what its worker ran.
    fn reports_of_each_worker(&self) -> Vec<String> {
        let mut notes = Vec::new();
        for (group, number) in self.spec.groups.iter().zip(0..) {
            let Adapter::Pytest { args, .. } = &group.adapter else { continue };
            let flags = if group.kind == GroupKind::Tests { pytest::own_reports(args) } else { Vec::new() };
            let workers = self.loaded.iter().filter(|(_, loaded)| *loaded == number).count();
            if workers > 1 && !flags.is_empty() {
                notes.push(format!(
                    "{}: pytest's own {} was written by each of {workers} workers for its own tests, and where they share the \
                     folder only the last one's is left; --junit and --html of Remuda hold all tests",
                    group.name,
                    flags.join(" and ")
                ));
            }
        }
        notes
    }

    pub(super) fn summary(&self, exit: Exit, because: String) -> Summary {
        let tests = self.view.total(GroupKind::Tests);
        let embedded = self.options.embedded;
        let (slots, workers) = if embedded { self.view.took_part_in_turn() } else { self.view.took_part() };
        Summary {
            noun: self.options.noun,
            wall: self.options.took.unwrap_or_else(|| self.start.elapsed()),
            counts: tests.counts,
            flaky: tests.flaky,
            xfailed: u32::try_from(self.xfailed.len()).unwrap_or(u32::MAX),
            late: self.evidence.late,
            slots,
            workers,
            busy_us: self.view.busy_us,
            longest_us: self.view.longest_us,
            log: self.options.log.clone(),
            exit: exit.code(),
            because,
        }
    }

    /// What never ran ended with its group: skipped, or cancelled.
    async fn fates(&mut self) -> Result<(), Error> {
        for group in 0..u32::try_from(self.view.groups.len()).unwrap_or(0) {
            let open: Vec<u32> = self.view.groups[group as usize].open_tasks().collect();
            for part in open.chunks(FATES) {
                let changes = self.fates_of(group, part);
                self.push(changes).await?;
            }
        }
        Ok(())
    }

    /// The same without asking Redis for anything: with the names that are known.
    pub(super) fn tell_fates(&mut self) {
        for group in 0..u32::try_from(self.view.groups.len()).unwrap_or(0) {
            let open: Vec<u32> = self.view.groups[group as usize].open_tasks().collect();
            for part in open.chunks(FATES) {
                self.pending = self.fates_of(group, part);
                self.tell_all_pending();
            }
        }
    }

    fn fates_of(&mut self, group: u32, tasks: &[u32]) -> Vec<Change> {
        let skipped = self.view.groups[group as usize].state == "skipped";
        let outcome = if skipped { Outcome::Skipped } else { Outcome::Cancelled };
        tasks.iter().map(|task| self.view.fate((group, *task), outcome)).collect()
    }

    /// Waits for the closing words of every host that loaded a suite which was collected.
    async fn hear_hosts(&mut self) -> Result<Vec<HostReport>, Error> {
        let collected = |group: u32| self.view.groups[group as usize].done() > 0;
        let wanted: Vec<_> = self.loaded.iter().filter(|(_, group)| collected(*group)).cloned().collect();
        if wanted.is_empty() {
            return Ok(Vec::new());
        }
        let began = tokio::time::Instant::now();
        loop {
            let reports = self.store.reports(&self.spec.id).await?;
            let heard = |worker: &str, group: u32| reports.iter().any(|r| r.worker == worker && r.group == group);
            let silent: Vec<_> = wanted.iter().filter(|(worker, group)| !heard(worker, *group)).collect();
            if silent.is_empty() {
                return Ok(reports);
            }
            let living = self.store.workers().await?;
            let hopeless = silent.iter().all(|(worker, _)| living.iter().all(|w| w.id != **worker));
            if hopeless || self.evidence.signal.is_some() || began.elapsed() > HOSTS {
                if self.evidence.signal.is_none() {
                    let text = format!(
                        "{} of {} hosts did not say what their framework prints at its end",
                        silent.len(),
                        wanted.len()
                    );
                    self.tell(&Fact::Note(text))?;
                }
                return Ok(reports);
            }
            self.show()?;
            tokio::time::sleep(ASK).await;
        }
    }
}
