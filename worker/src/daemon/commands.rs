//! The command tier: a slot's keeper runs one process after another from its own queue.

use std::time::{Duration, Instant};

use remuda_protocol::outcome::{Detail, Outcome};
use remuda_protocol::spec::{JobSpec, Template};

use super::inbox::Message;
use super::slots::{Abort, Assignment};
use super::{Daemon, medians};
use crate::adapter::command;
use crate::environment::{self, Place};
use crate::heartbeat::Held;
use crate::warden::{Exited, KeeperEvent, Unit, boottime_now_ms};

/// Kept of one command's output, from its start and from its end.
const OUTPUT_BYTES: usize = 64 << 10;

impl Daemon {
    /// Sends a slot's unsent tasks to its keeper.
    pub(super) async fn advance_commands(&mut self, slot: u32, spec: &JobSpec, group: u32, template: &Template) {
        if self.slots[slot as usize].queue.iter().all(|a| a.sent.is_some()) {
            return;
        }
        if self.slots[slot as usize].runner.is_some() {
            self.retire_runner(slot);
        }
        if let Err(error) = self.ready_keeper(slot, spec, group).await {
            return self.refuse(
                slot,
                &format!("worker on {} has no process to start commands with: {error}", self.settings.host),
            );
        }
        let (group_spec, live) = (&spec.groups[group as usize], self.is_watched(&spec.id));
        for at in 0..self.slots[slot as usize].queue.len() {
            if self.slots[slot as usize].queue[at].sent.is_some() {
                continue;
            }
            if at > 0 && spec.max_failures > 0 {
                break; // the one before it may be the last that is allowed to fail
            }
            let id = self.next_serial();
            let assignment = &mut self.slots[slot as usize].queue[at];
            assignment.sent = Some(id);
            let mut unit = Unit::new(id, command::argv(template, &assignment.id, assignment.task, assignment.place));
            unit.timeout = group_spec.timeout_ms.map(Duration::from_millis);
            unit.grace = Duration::from_millis(group_spec.grace_ms);
            (unit.head, unit.tail) = (OUTPUT_BYTES, OUTPUT_BYTES);
            unit.live = live;
            unit.whole = self.outputs.stem(group_spec, assignment);
            let place = place_of(assignment, spec, &self.settings.worker, self.settings.slots);
            unit.env = environment::of_attempt(&place).into_iter().map(|(k, v)| (k.into(), Some(v.into()))).collect();
            let keeper = self.slots[slot as usize].keeper.as_ref();
            if keeper.is_none_or(|k| k.run(unit).is_err()) {
                return; // the keeper has gone; its last event gives everything back
            }
        }
    }

    async fn ready_keeper(&mut self, slot: u32, spec: &JobSpec, group: u32) -> std::io::Result<()> {
        if self.slots[slot as usize].keeper.is_none() {
            let keeper = self.new_keeper(slot as usize, move |event| Message::Keeper(slot, event)).await?;
            let it = &mut self.slots[slot as usize];
            it.keeper = Some(keeper);
            it.base = None;
        }
        let it = &mut self.slots[slot as usize];
        let wanted = (spec.id.clone(), group);
        if it.base.as_ref() != Some(&wanted)
            && let Some(keeper) = &it.keeper
        {
            let group_env = &spec.groups[group as usize].env;
            let env = spec.env.iter().chain(group_env).map(|(k, v)| (k.clone(), v.clone()));
            keeper.base(environment::base(self.settings.embedded, env), std::path::Path::new(&spec.tree.path))?;
            it.base = Some(wanted);
        }
        Ok(())
    }

    pub(super) fn on_command_event(&mut self, slot: u32, event: KeeperEvent) {
        match event {
            KeeperEvent::Started { id, .. } => self.note_start(slot, id),
            KeeperEvent::Exited(exited) => self.on_command_exit(slot, &exited),
            KeeperEvent::Dropped { ids, .. } => {
                for id in ids {
                    if let Some(given_back) = self.slots[slot as usize].remove_sent(id) {
                        self.report(&given_back, None, 0, 0, &Detail::default());
                    }
                }
            }
            // with the warden all keepers end, and no attempt is to blame: `bury` is next
            KeeperEvent::Gone { .. } if self.warden.is_dead() => self.slots[slot as usize].keeper = None,
            KeeperEvent::Gone { .. } => self.on_keeper_gone(slot),
            KeeperEvent::Tail { id, bytes, .. } => self.show_tail(slot, id, &bytes),
            KeeperEvent::Output { id, stream, bytes, .. } => self.on_live_output(slot, id, stream, bytes),
        }
    }

    fn note_start(&mut self, slot: u32, id: u64) {
        let Some(assignment) = self.slots[slot as usize].queue.iter_mut().find(|a| a.sent == Some(id)) else { return };
        assignment.started = Some(Instant::now());
        self.heart.hold(assignment.fence, Held { keeper: slot as usize, started_ms: boottime_now_ms() });
    }

    fn on_command_exit(&mut self, slot: u32, exited: &Exited) {
        let Some(mut done) = self.slots[slot as usize].remove_sent(exited.id) else { return };
        let (outcome, mut detail) = command::judge(exited);
        if let Some(super::jobs::Job::Ready(spec)) = self.jobs.get(&done.job) {
            detail = self.outputs.place(spec, &done, exited, outcome, detail);
        }
        match (done.abort, outcome) {
            (Some(Abort::Overdue), None) => detail = medians::reason(detail, exited.wall_us),
            (Some(Abort::Overdue), Some(_)) => done.abort = None, // it ended by itself just then
            (None, Some(Outcome::Passed)) => self.medians.learn(&done.job, done.group, exited.wall_us),
            _ => {}
        }
        self.report(&done, outcome, exited.wall_us, 0, &detail);
        self.ask_before_the_next(slot, &done, outcome);
        self.mind_failure(&done, outcome);
    }

    /// A keeper died (its own attempt killed it): the attempt is to blame, the rest goes to a new keeper.
    fn on_keeper_gone(&mut self, slot: u32) {
        let it = &mut self.slots[slot as usize];
        (it.keeper, it.base) = (None, None);
        let running = it.queue.iter().position(|a| a.sent.is_some() && a.started.is_some());
        let to_blame = running.and_then(|at| it.queue.remove(at));
        if it.queue.iter().any(|a| a.sent.is_some()) {
            it.queue.iter_mut().for_each(|a| a.sent = None);
        }
        if let Some(done) = to_blame {
            self.outputs.forget(&done);
            let us = done.started.map_or(0, |s| u64::try_from(s.elapsed().as_micros()).unwrap_or(u64::MAX));
            let message = "the process that supervised it was killed while it ran".to_owned();
            self.report(&done, Some(Outcome::Errored), us, 0, &Detail { message, ..Detail::default() });
        }
    }
}

/// Who and where an attempt is.
pub(super) fn place_of<'a>(assignment: &'a Assignment, spec: &'a JobSpec, worker: &'a str, slots: u32) -> Place<'a> {
    Place {
        job: &assignment.job,
        task: assignment.task,
        attempt: assignment.attempt,
        worker,
        place: assignment.place,
        slots,
        locks: &assignment.locks,
        owner: (&spec.submitter, &spec.project),
    }
}
