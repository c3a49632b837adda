//! The daemon's talk with the store: results out, claims in, one call at a time; repeated until it is answered.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use remuda_protocol::outcome::{Detail, Outcome};
use remuda_store::{NextCall, NextReply, StoreError, TaskResult, Verdict, Want};
use uuid::Uuid;

use super::inbox::Message;
use super::slots::{self, Abort, Assignment};
use super::{Daemon, WorkerError};
use crate::heartbeat::{Held, Pulse};
use crate::warden::boottime_now_ms;

/// Results wait so long for company while every slot is busy.
const PATIENCE: Duration = Duration::from_millis(100);
/// So many results are sent at once at most, and so many claimed.
const BATCH: usize = 100;
/// For so many slots is asked at once at most.
const WANTS: usize = 64;
/// About how much work a claim should cover.
const BUDGET_US: u64 = 200_000;
/// So many times the price of a process's start is worth a claim; at most a minute, so that others get their turn.
const STARTS: u64 = 10;
const LARGEST_BUDGET_US: u64 = 60_000_000;
/// Confirmed results are kept so long, in case the server forgets its last second.
const KEEP: Duration = Duration::from_secs(5);
/// An idle daemon asks again after this time even if no bell rang.
const IDLE: Duration = Duration::from_secs(4);

/// What goes to the store, and when to ask next.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    waiting: VecDeque<(Instant, TaskResult)>,
    confirmed: VecDeque<(Instant, TaskResult)>,
    in_flight: bool,
    /// Results that the call that is out carries.
    carried: usize,
    rung: bool,
    next_look: Option<Instant>,
    server_runs: u64,
    /// A result waits that others should know of.
    urgent: bool,
    /// The last time the server answered.
    answered: Option<Instant>,
}

impl Outbox {
    /// Work may be there.
    pub(super) fn ring(&mut self) {
        self.rung = true;
    }

    /// What waits goes with the next call, and that is now.
    pub(super) fn hurry(&mut self) {
        self.urgent = true;
    }

    pub(super) fn waits(&self) -> bool {
        self.in_flight || !self.waiting.is_empty() || self.rung
    }

    /// Whether a call is out, whose answer may bring claims that we do not know of yet.
    pub(super) fn is_out(&self) -> bool {
        self.in_flight
    }

    pub(super) fn is_empty(&self) -> bool {
        !self.in_flight && self.waiting.is_empty()
    }

    /// Whether there is something that nobody else knows.
    pub(super) fn has_results(&self) -> bool {
        self.carried > 0 || !self.waiting.is_empty()
    }

    pub(super) fn until_next_look(&self, now: Instant) -> Duration {
        self.next_look.map_or(IDLE, |at| at.saturating_duration_since(now)).min(IDLE)
    }

    fn due(&self, now: Instant) -> bool {
        self.urgent || self.waiting.len() >= BATCH || self.waiting.front().is_some_and(|(at, _)| now - *at >= PATIENCE)
    }

    fn push(&mut self, result: TaskResult) {
        self.waiting.push_back((Instant::now(), result));
    }

    /// Results for one call.
    fn take(&mut self) -> Vec<TaskResult> {
        let n = self.waiting.len().min(BATCH);
        self.urgent &= n < self.waiting.len();
        self.waiting.drain(..n).map(|(_, r)| r).collect()
    }

    fn confirm(&mut self, results: Vec<TaskResult>) {
        let now = Instant::now();
        while self.confirmed.front().is_some_and(|(at, _)| now - *at > KEEP) {
            self.confirmed.pop_front();
        }
        self.confirmed.extend(results.into_iter().map(|r| (now, r)));
    }

    /// After a restart of the server: what it had confirmed shortly before it went away is offered again.
    fn offer_again(&mut self) {
        let now = Instant::now();
        let last = self.answered.unwrap_or(now);
        let recent: Vec<_> =
            self.confirmed.drain(..).filter(|(at, _)| last.saturating_duration_since(*at) <= KEEP).collect();
        for (_, result) in recent.into_iter().rev() {
            self.waiting.push_front((now, result));
        }
    }
}

impl Daemon {
    /// The claims in hand.
    pub(super) fn fences(&self) -> Vec<u64> {
        let owed = self.owed.values().map(|o| o.assignment.fence);
        let mut fences: Vec<u64> =
            self.slots.iter().flat_map(|s| s.queue.iter().map(|a| a.fence)).chain(owed).collect();
        fences.sort_unstable();
        fences.dedup();
        fences
    }

    /// Hands in a result (`None`: given back).
    pub(super) fn report(
        &mut self,
        done: &Assignment,
        outcome: Option<Outcome>,
        us: u64,
        wide_us: u64,
        detail: &Detail,
    ) {
        let detail =
            if *detail == Detail::default() { Vec::new() } else { serde_json::to_vec(detail).unwrap_or_default() };
        let outcome = match done.abort {
            Some(Abort::Lost) => {
                self.outputs.forget(done);
                self.let_go(done.fence);
                return;
            }
            Some(Abort::Cancelled) => Some(Outcome::Cancelled),
            Some(Abort::Drain) => None,
            Some(Abort::Overdue) => Some(Outcome::TimedOut),
            None => outcome,
        };
        if outcome.is_none() && !detail.is_empty() {
            self.outputs.forget(done);
        }
        self.outbox.push(TaskResult {
            fence: done.fence,
            job: done.job.clone(),
            group: done.group,
            task: done.task,
            outcome,
            us,
            wide_us,
            detail,
        });
        self.let_go(done.fence);
    }

    /// Forgets a claim with its last task.
    fn let_go(&mut self, fence: u64) {
        let owed = self.owed.values().any(|o| o.assignment.fence == fence);
        if !owed && !self.slots.iter().any(|s| s.holds(fence)) {
            self.heart.release(fence);
        }
    }

    /// Calls `next` if there is a reason to.
    pub(super) fn pump(&mut self) {
        if self.outbox.in_flight {
            return;
        }
        let now = Instant::now();
        if self.outbox.next_look.is_some_and(|at| at <= now) {
            self.outbox.ring();
        }
        if std::mem::take(&mut self.outbox.rung) {
            self.slots.iter_mut().for_each(|s| s.dry = false);
            self.outbox.next_look = Some(now + IDLE);
        }
        let idle = self.slots.iter().any(|s| s.queue.is_empty() && !s.dry);
        let hungry = self.takes_work() && (idle || self.slots.iter().any(|s| s.wants() && !s.dry));
        // a slot with empty hands that found nothing is no reason to hold results back from those who wait for them
        let results_due =
            self.outbox.due(now) || (!self.outbox.waiting.is_empty() && self.slots.iter().any(|s| s.queue.is_empty()));
        if hungry || results_due {
            let call = self.make_call();
            self.send(call);
        }
    }

    fn make_call(&mut self) -> NextCall {
        let wants = if self.takes_work() { self.wants() } else { Vec::new() };
        let results = self.outbox.take();
        if self.outbox.waiting.is_empty() {
            self.slots.iter_mut().for_each(|s| s.asks = None); // this call tells everything
        }
        NextCall {
            worker: self.settings.worker.clone(),
            nonce: Uuid::new_v4().to_string(),
            lease_ms: self.settings.lease_ms(),
            results,
            wants,
            loaded: self.loaded(),
        }
    }

    fn wants(&self) -> Vec<Want> {
        let want = |s: &super::Slot| Want {
            slot: s.number,
            max: BATCH as u32,
            budget_us: self.budget(s),
            warm: s.warm.clone(),
            with_ms: u64::try_from(s.since.elapsed().as_millis()).unwrap_or(u64::MAX),
        };
        slots::asking(&self.slots).take(WANTS).map(want).collect()
    }

    /// About how much work a slot's next claim should cover: much more than a process's start, where that is paid.
    fn budget(&self, slot: &super::Slot) -> u64 {
        let own = slot.runner.as_ref().and_then(|r| self.loaders.get(&r.loader));
        // a slot without a runner may get tests of any suite that is loaded here
        let costs =
            self.loaders.values().filter(|l| own.is_none_or(|o| o.id == l.id)).filter_map(|l| l.options.startup_us);
        costs.max().map_or(BUDGET_US, |us| BUDGET_US.max(us.saturating_mul(STARTS)).min(LARGEST_BUDGET_US))
    }

    fn send(&mut self, call: NextCall) {
        (self.outbox.in_flight, self.outbox.carried) = (true, call.results.len());
        let (store, inbox) = (self.store.clone(), self.inbox.clone());
        tokio::spawn(async move {
            let sent_ms = boottime_now_ms();
            loop {
                let reply = store.next(&call).await;
                // an outage: the same call again, its nonce makes that harmless
                if matches!(&reply, Err(e) if e.is_outage()) && !inbox.is_closed() {
                    continue;
                }
                let _ = inbox.send(Message::Next(Box::new(call), sent_ms, reply));
                return;
            }
        });
    }

    pub(super) async fn on_reply(
        &mut self,
        call: NextCall,
        sent_ms: u64,
        reply: Result<NextReply, StoreError>,
    ) -> Result<(), WorkerError> {
        (self.outbox.in_flight, self.outbox.carried) = (false, 0);
        match reply {
            Ok(reply) => self.accept(call, sent_ms, reply).await,
            Err(StoreError::UnknownWorker { .. }) => {
                self.resync().await?;
                self.send(call);
            }
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    async fn accept(&mut self, call: NextCall, sent_ms: u64, reply: NextReply) {
        for (result, verdict) in call.results.iter().zip(&reply.verdicts) {
            if *verdict == Verdict::Stale {
                tracing::warn!(task = result.task, fence = result.fence, "a late result was refused");
                self.outputs.forget_result(result);
            }
        }
        let runs = self.store.server_runs();
        if std::mem::replace(&mut self.outbox.server_runs, runs) < runs && runs > 1 {
            self.outbox.offer_again();
        }
        self.outbox.confirm(call.results);
        let now = Instant::now();
        self.outbox.answered = Some(now);
        self.outbox.next_look = Some(now + Duration::from_millis(reply.wait_ms));
        for want in &call.wants {
            self.slots[want.slot as usize].dry = true;
        }
        for claim in reply.claims {
            let slot = claim.slot as usize;
            self.heart.hold(claim.fence, Held { keeper: slot, started_ms: 0 });
            let until = sent_ms + self.settings.lease_ms() - self.settings.margin_ms();
            let before = self.deadlines.get(slot);
            // with older claims in hand the earliest lease counts; empty hands have nothing to wait for
            self.deadlines
                .set(slot, if self.slots[slot].queue.is_empty() || before == 0 { until } else { before.min(until) });
            let job = claim.job.clone();
            self.slots[slot].take(claim);
            if self.slots[slot].asks.as_ref() == Some(&job) {
                self.give_back_unsent(slot as u32, |assignment| assignment.job == job);
            }
        }
        for (job, group) in reply.prepare {
            self.prepare(&job, group).await;
        }
        for (job, group) in reply.over {
            self.finish_suite(&job, group);
        }
    }

    /// Tells the store what is in hand; what is not ours any more is dropped.
    pub(super) async fn resync(&mut self) -> Result<(), WorkerError> {
        let answer = match self.store.resync(&self.registration()).await {
            Err(error) if error.is_outage() => return Ok(()), // the next beat asks again
            answer => answer?,
        };
        // it comes anew: what could not be run here is looked at again
        self.forget_refused();
        for fence in answer.forget {
            self.stop_claim(fence, Abort::Lost);
        }
        self.outbox.ring();
        Ok(())
    }

    pub(super) async fn on_pulse(&mut self, pulse: Pulse) -> Result<(), WorkerError> {
        match pulse {
            // a call that is out finds the same; while it is out we do not know all that we hold
            Pulse::Unknown if self.outbox.is_out() => {}
            Pulse::Unknown => self.resync().await?,
            Pulse::Answered { stop, tasks, last, service, watched } => {
                self.watch_live(watched);
                for (fence, lost) in stop {
                    self.stop_claim(fence, if lost { Abort::Lost } else { Abort::Cancelled });
                }
                for (fence, task) in tasks {
                    self.stop_task(fence, task);
                }
                for fence in last {
                    self.begin_no_more(fence);
                }
                self.serve(service);
            }
        }
        Ok(())
    }

    /// Stops everything in hand of one claim.
    pub(super) fn stop_claim(&mut self, fence: u64, why: Abort) {
        for slot in 0..self.slots.len() {
            let touched = self.slots[slot].queue.iter_mut().filter(|a| a.fence == fence && a.abort.is_none());
            if touched.map(|a| a.abort = Some(why)).count() > 0 {
                self.stop_aborted(u32::try_from(slot).unwrap_or(u32::MAX));
            }
        }
        self.stop_owed(fence, why);
        self.let_go(fence);
    }

    /// Stops one task in hand, and not its neighbours.
    fn stop_task(&mut self, fence: u64, task: u32) {
        let its = |a: &Assignment| a.fence == fence && a.task == task && a.abort.is_none();
        for slot in 0..self.settings.slots {
            let it = &mut self.slots[slot as usize];
            let Some(found) = it.queue.iter_mut().find(|a| its(a)) else { continue };
            found.abort = Some(Abort::Cancelled);
            let sent = found.sent;
            let runs = it.running().is_some_and(|first| first.sent == sent);
            match sent {
                Some(number) if !runs => self.drop_sent(slot, vec![number]),
                _ => self.stop_aborted(slot),
            }
        }
    }

    /// Ends what was aborted on a slot: the unsent at once, the sent by killing what runs it.
    pub(super) fn stop_aborted(&mut self, slot: u32) {
        let queue = &mut self.slots[slot as usize].queue;
        let (gone, kept) =
            std::mem::take(queue).into_iter().partition(|a: &Assignment| a.abort.is_some() && a.sent.is_none());
        *queue = kept;
        let gone: std::collections::VecDeque<Assignment> = gone;
        for assignment in gone {
            self.report(&assignment, None, 0, 0, &Detail::default());
        }
        let sent: Vec<u64> =
            self.slots[slot as usize].queue.iter().filter(|a| a.abort.is_some()).filter_map(|a| a.sent).collect();
        if !sent.is_empty() {
            self.kill_sent(slot, &sent);
            self.limit_patience(slot);
        }
    }

    /// Fails everything in a slot's hands before it starts, and says why.
    pub(super) fn refuse(&mut self, slot: u32, why: &str) {
        let detail = Detail { message: why.to_owned(), ..Detail::default() };
        for assignment in std::mem::take(&mut self.slots[slot as usize].queue) {
            self.report(&assignment, Some(Outcome::Errored), 0, 0, &detail);
        }
    }

    pub(super) fn on_word(&mut self, word: &str) {
        match word.split(' ').next() {
            Some("cancel" | "drain" | "look") => self.heart.beat_now(),
            Some("over") => self.outbox.ring(),
            _ => {}
        }
    }
}
