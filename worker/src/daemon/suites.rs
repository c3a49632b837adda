//! Suites: loaders and the warm runners forked from them (docs/runner-protocol.md), one runner a slot.
//!
//! A test that ends its runner is the first in the queue without a result: it alone is blamed, the rest goes to the
//! next fork. Wide fixtures that fail in their last teardown are told in the host's closing report.

use std::time::{Duration, Instant};

use remuda_protocol::outcome::{Detail, Outcome};
use remuda_protocol::spec::JobSpec;

use super::Daemon;
use super::commands::place_of;
use super::departures::RunnerEnd;
use super::inbox::Message;
use super::jobs::Found;
use super::owed::Owed;
use crate::adapter::{command, pytest};
use crate::environment;
use crate::heartbeat::Held;
use crate::loader::messages::{FromRunner, TestResult, ToRunner};
use crate::loader::process::{self, Killed, Loader, Phase};
use crate::loader::tap::Taken;
use crate::warden::boottime_now_ms;

impl Daemon {
    /// Job and group of every suite that is loaded here.
    pub(super) fn loaded(&self) -> Vec<(String, u32)> {
        let mut all: Vec<_> = self
            .loaders
            .values()
            .filter(|l| matches!(l.phase, Phase::Ready | Phase::Finishing))
            .map(|l| (l.job.clone(), l.group))
            .collect();
        all.sort();
        all.dedup();
        all
    }

    /// The store has tests of a suite that is not loaded here.
    pub(super) async fn prepare(&mut self, job: &str, group: u32) {
        let known = self.loaders.values().any(|l| l.job == job && l.group == group);
        if known || self.drain.is_some() || self.unloadable.contains(&(job.to_owned(), group)) {
            return;
        }
        if let Found::Ready(spec) = self.job(job)
            && let Err(error) = self.start_loader(&spec, group, None, None).await
        {
            tracing::warn!(%error, "a suite could not be loaded");
        }
    }

    /// Makes sure that a slot has a runner of the right suite, and gives it what it has not got yet.
    pub(super) async fn advance_suite(&mut self, slot: u32, spec: &JobSpec, group: u32) {
        if self.slots[slot as usize].queue.iter().all(|a| a.sent.is_some() || a.misfit) {
            return;
        }
        let loader = self.loader_for(slot, &spec.id, group);
        let it = &self.slots[slot as usize];
        let locks = it.queue.iter().find(|a| a.sent.is_none() && !a.misfit).map(|a| &a.locks);
        let busy = it.queue.iter().any(|a| a.sent.is_some());
        if let Some(runner) = &it.runner
            && (loader.is_none_or(|l| l != runner.loader) || locks.is_some_and(|l| *l != runner.locks))
        {
            if busy {
                return; // what it has in hand comes first
            }
            self.retire_runner(slot);
        }
        let Some(loader) = loader else {
            let owner = self.loaders.values().any(|l| l.job == spec.id && l.group == group).then_some(slot);
            if let Err(error) = self.start_loader(spec, group, owner, None).await {
                self.refuse(slot, &format!("worker on {} could not load the suite: {error}", self.settings.host));
            }
            return;
        };
        if self.loaders[&loader].phase != Phase::Ready {
            return;
        }
        if self.slots[slot as usize].runner.is_none()
            && let Err(error) = self.fork_runner(slot, loader, spec)
        {
            return self.refuse(slot, &format!("worker on {} could not fork a runner: {error}", self.settings.host));
        }
        self.feed(slot, loader);
    }

    /// The loader a slot forks from: the shared one, or its own where forking is forbidden.
    fn loader_for(&mut self, slot: u32, job: &str, group: u32) -> Option<u64> {
        let mut all: Vec<&mut Loader> = self
            .loaders
            .values_mut()
            .filter(|l| l.job == job && l.group == group && l.phase != Phase::Finishing)
            .collect();
        all.sort_by_key(|l| l.id);
        if let Some(own) = all.iter().find(|l| l.owner == Some(slot)) {
            return Some(own.id);
        }
        // a suite that must not be forked has a loader for each slot; the first one only gathers their reports
        let shared = all.into_iter().find(|l| l.owner.is_none())?;
        (shared.phase != Phase::Ready || shared.fork.is_ok()).then_some(shared.id)
    }

    fn fork_runner(&mut self, slot: u32, loader: u64, spec: &JobSpec) -> std::io::Result<()> {
        let generation = self.next_serial();
        let it = &self.slots[slot as usize];
        let Some(first) = it.queue.front() else { return Ok(()) };
        let place = place_of(first, spec, &self.settings.worker, self.settings.slots);
        let mut env = environment::of_slot(&place);
        env.extend(environment::of_pools(&first.locks));
        let (number, locks) = (first.place, first.locks.clone());
        let Some(from) = self.loaders.get_mut(&loader) else { return Ok(()) };
        let (runner, mut receiver) = process::fork(from, slot, number, generation, locks, env)?;
        self.slots[slot as usize].runner = Some(runner);
        self.departures.runner_speaks(generation);
        let inbox = self.inbox.clone();
        tokio::spawn(async move {
            loop {
                let message = receiver.next().await;
                let last = message.is_none();
                if inbox.send(Message::Runner(slot, generation, message)).is_err() || last {
                    return;
                }
            }
        });
        Ok(())
    }

    /// Sends a runner the tests it has not got yet.
    fn feed(&mut self, slot: u32, loader: u64) {
        let Some(from) = self.loaders.get(&loader) else { return };
        let keeper = from.keeper_index;
        let (mut positions, mut of, mut missing) = (Vec::new(), Vec::new(), None);
        for assignment in self.slots[slot as usize].queue.iter_mut().filter(|a| a.sent.is_none() && !a.misfit) {
            match from.positions.get(&assignment.id) {
                Some(&position) => {
                    assignment.sent = Some(u64::from(position));
                    positions.push(position);
                    of.push((assignment.task, assignment.attempt));
                    self.heart.hold(assignment.fence, Held { keeper, started_ms: 0 });
                }
                None => {
                    assignment.misfit = true;
                    missing.get_or_insert_with(|| assignment.clone());
                }
            }
        }
        if let Some(runner) = &self.slots[slot as usize].runner {
            runner.sender.send(&ToRunner::Run { tests: &positions, of: &of }, Vec::new());
        }
        if let Some(missing) = missing {
            self.lacks_test(&missing);
        }
    }

    pub(super) fn on_runner(&mut self, slot: u32, generation: u64, message: Option<FromRunner>) {
        if message.is_none() {
            self.departures.runner_said_all(generation);
            self.tick_departures(Instant::now());
            return;
        }
        // a runner that has got all its work says these, too
        match &message {
            Some(FromRunner::Late { fixture, scope, detail }) => {
                return self.note_late(fixture, scope, detail, slot, generation);
            }
            Some(FromRunner::Stop { reason, ends: true, .. }) => return self.stop_job(slot, generation, reason),
            Some(FromRunner::Stop { reason, exit, .. }) => return self.note_stop(slot, generation, reason, *exit),
            _ => {}
        }
        if self.slots[slot as usize].runner.as_ref().is_none_or(|r| r.generation != generation) {
            return;
        }
        match message {
            Some(FromRunner::Started { test }) => self.note_test_start(slot, u64::from(test)),
            Some(FromRunner::Result(result)) => self.on_result(slot, &result),
            Some(FromRunner::Results { items }) => items.iter().for_each(|r| self.on_result(slot, r)),
            Some(FromRunner::Dropped { tests }) => {
                for test in tests {
                    if let Some(assignment) = self.slots[slot as usize].remove_sent(u64::from(test)) {
                        let (outcome, us, wide_us, detail, since) = (None, 0, 0, Detail::default(), Instant::now());
                        self.report_from_runner(slot, Owed { assignment, outcome, us, wide_us, detail, since });
                    }
                }
            }
            _ => {}
        }
    }

    fn note_late(&mut self, fixture: &str, scope: &str, detail: &serde_json::Value, slot: u32, generation: u64) {
        let text = detail
            .get("longrepr")
            .or_else(|| detail.get("message"))
            .and_then(serde_json::Value::as_str)
            .unwrap_or("")
            .to_owned();
        if let Some(loader) = self.loader_of(slot, generation) {
            loader.late.push((format!("{fixture} ({scope})"), text));
        }
    }

    /// The loader of a slot's runner, also of one that is ending.
    pub(super) fn loader_of(&mut self, slot: u32, generation: u64) -> Option<&mut Loader> {
        let current =
            self.slots[slot as usize].runner.as_ref().filter(|r| r.generation == generation).map(|r| r.loader);
        let retired =
            || self.loaders.values().find(|l| l.retired.iter().any(|r| r.generation == generation)).map(|l| l.id);
        current.or_else(retired).and_then(|id| self.loaders.get_mut(&id))
    }

    /// A monitor became known: it is the one of the first runner that this slot is waiting for.
    pub(super) fn on_forked(&mut self, id: u64, slot: u32, monitor: i32) {
        let Some(generation) = self.take_pending(id, slot) else { return };
        if let Some(runner) = self.slots[slot as usize].runner.as_mut().filter(|r| r.generation == generation) {
            runner.monitor = Some(monitor);
            if let (Some(_), Some(loader)) = (runner.killed, self.loaders.get(&id)) {
                let _ = loader.keeper.kill_tree(monitor);
            }
        } else if let Some(retired) =
            self.loaders.get_mut(&id).and_then(|l| l.retired.iter_mut().find(|r| r.generation == generation))
        {
            retired.monitor = Some(monitor);
        }
    }

    fn take_pending(&mut self, id: u64, slot: u32) -> Option<u64> {
        let pending = &mut self.loaders.get_mut(&id)?.pending;
        let at = pending.iter().position(|(s, _)| *s == slot)?;
        pending.remove(at).map(|(_, generation)| generation)
    }

    fn note_test_start(&mut self, slot: u32, test: u64) {
        let Some(assignment) = self.slots[slot as usize].queue.iter_mut().find(|a| a.sent == Some(test)) else {
            return;
        };
        assignment.started = Some(Instant::now());
        let fence = assignment.fence;
        if let Some(keeper) = self.keeper_of(slot) {
            self.heart.hold(fence, Held { keeper, started_ms: boottime_now_ms() });
        }
    }

    fn keeper_of(&self, slot: u32) -> Option<usize> {
        let runner = self.slots[slot as usize].runner.as_ref()?;
        self.loaders.get(&runner.loader).map(|l| l.keeper_index)
    }

    fn on_result(&mut self, slot: u32, result: &TestResult) {
        self.learn_startup(slot, result);
        let printed = self.printed(slot);
        let Some(done) = self.slots[slot as usize].remove_sent(u64::from(result.test)) else { return };
        self.show_rest(&done, &printed);
        // the next in its queue has begun
        if let Some(next) = self.slots[slot as usize].queue.iter_mut().find(|a| a.sent.is_some()) {
            next.started.get_or_insert_with(Instant::now);
        }
        let owed = Owed {
            assignment: done,
            outcome: Some(pytest::outcome(&result.outcome)),
            us: micros(result.us.iter().sum()),
            wide_us: micros(result.wide.iter().map(|w| w.1).sum()),
            detail: pytest::detail(result, &printed),
            since: Instant::now(),
        };
        self.report_from_runner(slot, owed);
    }

    /// What a start costs is the mean of what was said before and what this one took.
    fn learn_startup(&mut self, slot: u32, result: &TestResult) {
        let Some((_, us)) = result.wide.iter().find(|(scope, _)| scope == crate::frameworks::STARTUP) else { return };
        let loader = self.slots[slot as usize].runner.as_ref().map(|r| r.loader);
        if let Some(loader) = loader.and_then(|id| self.loaders.get_mut(&id)) {
            let known = &mut loader.options.startup_us;
            *known = Some(known.map_or(micros(*us), |before| u64::midpoint(before, micros(*us))));
        }
    }

    /// What a runner printed past the framework's capture since the last result.
    pub(super) fn printed(&self, slot: u32) -> [Taken; 2] {
        let runner = self.slots[slot as usize].runner.as_ref();
        runner.map_or_else(Default::default, |r| std::array::from_fn(|stream| r.taps[stream].take()))
    }

    /// A runner ended, and may not have been heard to its end yet.
    pub(super) fn on_runner_exit(&mut self, slot: u32, monitor: i32, status: i32, id: u64) {
        let Some(loader) = self.loaders.get_mut(&id) else { return };
        loader.alive = loader.alive.saturating_sub(1);
        let retired = loader.retired.iter().find(|r| r.monitor == Some(monitor)).map(|r| r.generation);
        let current =
            self.slots[slot as usize].runner.as_ref().filter(|r| r.monitor == Some(monitor)).map(|r| r.generation);
        // a fork that failed ends without a monitor
        let Some(generation) = retired.or(current).or_else(|| self.take_pending(id, slot)) else {
            return self.finish_if_quiet(id);
        };
        self.departures.runner_ended(generation, RunnerEnd { slot, loader: id, status });
        self.tick_departures(Instant::now());
    }

    /// A runner has ended and said all: blames the test it died under, gives the rest to the next one.
    pub(super) fn on_runner_end(&mut self, generation: u64, RunnerEnd { slot, loader: id, status }: RunnerEnd) {
        if let Some(loader) = self.loaders.get_mut(&id) {
            loader.retired.retain(|r| r.generation != generation);
        }
        self.pay_for(generation);
        if self.slots[slot as usize].runner.as_ref().is_some_and(|r| r.generation == generation) {
            let printed = self.printed(slot);
            let killed = self.slots[slot as usize].runner.take().and_then(|r| r.killed);
            self.blame(slot, killed, &ended_how(status), &printed);
        }
        self.finish_if_quiet(id);
    }

    pub(super) fn blame(&mut self, slot: u32, killed: Option<Killed>, how: &str, printed: &[Taken; 2]) {
        let queue = &mut self.slots[slot as usize].queue;
        let guilty = match killed {
            Some(Killed::Stop) => None,
            _ => queue.iter().position(|a| a.sent.is_some()).and_then(|at| queue.remove(at)),
        };
        let aborted: Vec<_> = queue.iter().filter(|a| a.abort.is_some()).cloned().collect();
        queue.retain(|a| a.abort.is_none());
        queue.iter_mut().for_each(|a| (a.sent, a.started) = (None, None));
        for assignment in aborted {
            self.report(&assignment, None, 0, 0, &Detail::default());
        }
        let Some(done) = guilty else { return };
        self.show_rest(&done, printed);
        let us = done.started.map_or(0, |s| u64::try_from(s.elapsed().as_micros()).unwrap_or(u64::MAX));
        let (outcome, message) = match killed {
            Some(Killed::Timeout) => (
                Outcome::TimedOut,
                format!("killed at its timeout after {:.1} s", Duration::from_micros(us).as_secs_f64()),
            ),
            _ => (Outcome::Errored, format!("the test ended its process: {how}")),
        };
        let sections = pytest::sections(printed).collect();
        self.report(&done, Some(outcome), us, 0, &Detail { message, sections, ..Detail::default() });
        self.mind_failure(&done, Some(outcome));
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to what fits")]
fn micros(us: f64) -> u64 {
    us.clamp(0.0, 1e15) as u64
}

fn ended_how(status: i32) -> String {
    match status & 0x7f {
        0 => format!("exit code {}", (status >> 8) & 0xff),
        signal => format!("killed by {}", command::signal_name(signal)),
    }
}
