//! Stopping what slots have in hand, whatever runs it: kills what has begun, takes back what has not. Who wants it and
//! what is reported then is the caller's: `claims`, `limits`, `halt`, `shutdown`.

use std::time::{Duration, Instant};

use super::Daemon;
use super::slots::Abort;
use crate::loader::messages::ToRunner;
use crate::loader::process::Killed;

impl Daemon {
    /// Kills what runs some of a slot's sent tasks.
    pub(super) fn kill_sent(&mut self, slot: u32, sent: &[u64]) {
        if self.slots[slot as usize].runner.is_some() {
            return self.kill_runner(slot, Killed::Stop);
        }
        if let Some(keeper) = &self.slots[slot as usize].keeper {
            for id in sent {
                let _ = keeper.kill(*id, false);
            }
        }
        for loader in self.loaders.values().filter(|l| l.collecting == Some(slot)) {
            let _ = loader.keeper.kill(loader.unit, true);
        }
    }

    /// What was cancelled has been asked to end: it has less time for that than one that has come to its timeout.
    pub(super) fn limit_patience(&mut self, slot: u32) {
        let now = Instant::now();
        for assignment in self.slots[slot as usize].queue.iter_mut().filter(|a| a.abort == Some(Abort::Cancelled)) {
            let Some(super::jobs::Job::Ready(spec)) = self.jobs.get(&assignment.job) else { continue };
            let grace = Duration::from_millis(spec.groups[assignment.group as usize].cancel_grace_ms);
            assignment.kill_at.get_or_insert(now + grace);
        }
    }

    /// Kills what was cancelled and has not ended in time.
    pub(super) fn tick_kills(&mut self, now: Instant) {
        for slot in &mut self.slots {
            for assignment in slot.queue.iter_mut().filter(|a| a.kill_at.is_some_and(|at| at <= now)) {
                assignment.kill_at = None;
                if let (Some(keeper), Some(unit)) = (&slot.keeper, assignment.sent) {
                    let _ = keeper.kill(unit, true);
                }
            }
        }
    }

    pub(super) fn kill_runner(&mut self, slot: u32, why: Killed) {
        let Some(runner) = &mut self.slots[slot as usize].runner else { return };
        if runner.killed.is_some() {
            return;
        }
        runner.killed = Some(why); // if its monitor is not known yet, it is killed as soon as it is
        if let (Killed::Stop, Some(loader)) = (why, self.loaders.get(&runner.loader)) {
            loader.control.send(&ToRunner::Stopped { slot }, Vec::new());
        }
        if let (Some(monitor), Some(loader)) = (runner.monitor, self.loaders.get(&runner.loader)) {
            let _ = loader.keeper.kill_tree(monitor);
        }
    }

    /// Takes back what a slot was sent and has not begun.
    pub(super) fn drop_unstarted(&mut self, slot: u32) {
        let it = &self.slots[slot as usize];
        let waiting: Vec<u64> = it.queue.iter().filter_map(|a| a.sent).skip(1).collect();
        if !waiting.is_empty() {
            self.drop_sent(slot, waiting);
        }
    }

    /// Takes back these tasks of a slot, as far as they have not begun.
    pub(super) fn drop_sent(&mut self, slot: u32, sent: Vec<u64>) {
        let it = &self.slots[slot as usize];
        if let Some(runner) = &it.runner {
            let tests: Vec<u32> = sent.iter().filter_map(|n| u32::try_from(*n).ok()).collect();
            runner.sender.send(&ToRunner::Drop { tests: &tests }, Vec::new());
        } else if let Some(keeper) = &it.keeper {
            let _ = keeper.drop_units(sent);
        }
    }

    pub(super) fn kill_loaders(&mut self) {
        for loader in self.loaders.values() {
            let _ = loader.keeper.kill(loader.unit, true);
        }
    }
}
