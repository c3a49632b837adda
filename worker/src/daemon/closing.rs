//! The end of a suite on this host: runners tear down, the session ends, the host's closing report is sent; and the
//! end of a loader that nobody asked for.

use std::time::Instant;

use remuda_protocol::outcome::Detail;
use remuda_store::HostReport;

use super::Daemon;
use super::inbox::Message;
use crate::adapter::command;
use crate::loader::messages::ToRunner;
use crate::loader::process::{Killed, Loader, Phase, Retired, Runner, SessionEnd};
use crate::warden::{KeeperEvent, Reason};

/// A loader may die so often by itself before the tests that ran at that moment are blamed.
const FORGIVEN_DEATHS: u32 = 2;

impl Daemon {
    /// Lets a slot's runner tear down and end; its slot is free for another.
    pub(super) fn retire_runner(&mut self, slot: u32) {
        if let Some(runner) = self.slots[slot as usize].runner.take() {
            runner.sender.send(&ToRunner::Last, Vec::new());
            if let Some(loader) = self.loaders.get_mut(&runner.loader) {
                loader.retired.push(Retired {
                    generation: runner.generation,
                    monitor: runner.monitor,
                    sender: runner.sender,
                });
            }
        }
    }

    /// No more work for this suite on this host: ends its runners, then its session.
    pub(super) fn finish_suite(&mut self, job: &str, group: u32) {
        let ids: Vec<u64> = self
            .loaders
            .values()
            .filter(|l| l.job == job && l.group == group && l.phase == Phase::Ready)
            .map(|l| l.id)
            .collect();
        for id in ids {
            for slot in 0..self.settings.slots {
                let its = |r: &Runner| r.loader == id;
                if self.slots[slot as usize].runner.as_ref().is_some_and(its) {
                    self.retire_runner(slot);
                }
            }
            if let Some(loader) = self.loaders.get_mut(&id) {
                loader.phase = Phase::Finishing;
            }
            self.finish_if_quiet(id);
        }
    }

    pub(super) fn finish_if_quiet(&self, id: u64) {
        let Some(loader) = self.loaders.get(&id) else { return };
        let mut others = self.loaders.values().filter(|l| l.job == loader.job && l.group == loader.group && l.id != id);
        let gathers = loader.owner.is_none() && others.any(|l| l.owner.is_some());
        if loader.phase == Phase::Finishing && loader.alive == 0 && !gathers {
            loader.control.send(&ToRunner::Finish, Vec::new());
        }
    }

    /// In a drain: suites that no slot works for.
    pub(super) fn finish_idle_suites(&mut self) {
        let idle: Vec<(String, u32)> = self
            .loaders
            .values()
            .filter(|l| {
                l.phase == Phase::Ready
                    && !self.slots.iter().any(|s| s.work().is_some_and(|w| w == (l.job.clone(), l.group)))
            })
            .map(|l| (l.job.clone(), l.group))
            .collect();
        for (job, group) in idle {
            self.finish_suite(&job, group);
        }
    }

    pub(super) fn on_finished(&mut self, id: u64, summary: String, error: Option<String>) {
        if let Some(loader) = self.loaders.get_mut(&id) {
            loader.end = Some(SessionEnd { summary, error: error.unwrap_or_default() });
        }
    }

    /// A loader's session has ended: its words go into the host's closing report, which is sent with the last one.
    fn close_suite(&mut self, loader: Loader, detail: &Detail, given_back: bool) {
        let end = end_of(&loader, detail, given_back);
        let key = (loader.job.clone(), loader.group);
        let report = self.closing.entry(key.clone()).or_insert_with(|| HostReport {
            worker: self.settings.worker.clone(),
            host: self.settings.host.clone(),
            group: loader.group,
            ..HostReport::default()
        });
        report.summary.push_str(&end.summary);
        for stop in &loader.stops {
            if !report.summary.is_empty() && !report.summary.ends_with('\n') {
                report.summary.push('\n');
            }
            report.summary.push_str(stop);
        }
        if report.stopped.is_empty() {
            report.stopped = loader.stopped;
        }
        if !end.error.is_empty() {
            report.failed.push_str(&format!("{}\n", end.error.trim_end()));
        }
        report.late.extend(loader.late);
        if let Err(why) = loader.fork {
            report.no_fork = why;
        }
        let more = self.loaders.values().any(|l| l.job == key.0 && l.group == key.1);
        if loader.phase != Phase::Finishing || more {
            return;
        }
        let Some(report) = self.closing.remove(&key) else { return };
        self.reporting += 1;
        let (store, inbox) = (self.store.patient(super::LONG_PATIENCE), self.inbox.clone());
        tokio::spawn(async move {
            if let Err(error) = store.report(&key.0, &report).await {
                tracing::warn!(%error, "the closing report was not delivered");
            }
            let _ = inbox.send(Message::Reported);
        });
    }

    pub(super) fn on_loader_unit(&mut self, id: u64, event: KeeperEvent) {
        match event {
            KeeperEvent::Exited(exited) => {
                let given_back = matches!(exited.reason, Reason::Lease | Reason::Killed);
                self.departures.loader_ended(id, command::judge(&exited).1, given_back);
                self.tick_departures(Instant::now());
            }
            KeeperEvent::Gone { .. } if self.warden.is_dead() => drop(self.loaders.remove(&id)),
            KeeperEvent::Gone { .. } => {
                let message = "its supervisor was killed".to_owned();
                self.departures.loader_ended(id, Detail { message, ..Detail::default() }, false);
                self.tick_departures(Instant::now());
            }
            _ => {}
        }
    }

    /// A loader and everything beneath it ended. If the lease did it, or we did, no test is to blame; if it died by
    /// itself, the first times everything is tried again, because most of what ran is innocent.
    pub(super) fn on_loader_end(&mut self, id: u64, detail: &Detail, given_back: bool) {
        let Some(loader) = self.loaders.remove(&id) else { return };
        tracing::info!(job = loader.job, message = detail.message, output = ?detail.sections, "a loader ended");
        self.heart.forget_keeper(loader.keeper_index);
        self.deadlines.set(loader.keeper_index, 0);
        self.collect_ended_early(&loader, detail, given_back);
        for retired in &loader.retired {
            self.pay_for(retired.generation);
        }
        let died = !given_back && loader.phase != Phase::Finishing;
        let deaths = self.deaths.entry((loader.job.clone(), loader.group)).or_default();
        *deaths += u32::from(died);
        // a loader of one slot is that slot's runner: the test that ran is to blame
        let blame = died && (loader.owner.is_some() || *deaths > FORGIVEN_DEATHS);
        for slot in 0..self.settings.slots {
            if self.slots[slot as usize].runner.as_ref().is_none_or(|r| r.loader != id) {
                continue;
            }
            let printed = self.printed(slot);
            let killed = self.slots[slot as usize].runner.take().and_then(|r| r.killed);
            let how = if detail.message.is_empty() { "its loader ended" } else { &detail.message };
            self.blame(slot, if blame { killed } else { Some(Killed::Stop) }, how, &printed);
            if given_back {
                for assignment in std::mem::take(&mut self.slots[slot as usize].queue) {
                    self.report(&assignment, None, 0, 0, &Detail::default());
                }
            }
        }
        let shared =
            self.loaders.values().find(|l| l.job == loader.job && l.group == loader.group && l.owner.is_none());
        if let Some(id) = shared.map(|l| l.id) {
            self.finish_if_quiet(id);
        }
        self.close_suite(loader, detail, given_back);
    }
}

/// What a session said at its end; if it should have and did not, that is what is wrong with it.
fn end_of(loader: &Loader, detail: &Detail, given_back: bool) -> SessionEnd {
    let (summary, mut error) =
        loader.end.as_ref().map_or_else(Default::default, |end| (end.summary.clone(), end.error.clone()));
    let expected = loader.phase == Phase::Finishing && loader.answer.is_none() && !given_back;
    if expected && loader.end.is_none() {
        let how = if detail.message.is_empty() { "its process is gone" } else { &detail.message };
        let printed: String = detail.sections.iter().map(|(_, text)| text.as_str()).collect();
        error = format!("the session ended before its reports were complete: {how}\n{printed}");
    }
    SessionEnd { summary, error }
}
