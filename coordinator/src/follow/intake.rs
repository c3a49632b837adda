//! Events become facts here: batches in order, gaps repaired from the stream or from the state of every task, numbers
//! given names. What cannot be named because Redis is away waits; nothing is told twice.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use remuda_protocol::event::{Event, Sequence};
use remuda_protocol::outcome::{Detail, XFAILED};
use remuda_protocol::spec::GroupKind;
use remuda_store::StoreError;
use tokio::task::JoinHandle;

use super::attached::Run;
use super::view::{Change, TaskKey};
use crate::error::Error;
use crate::report::text::count;
use crate::report::{Fact, reason};

/// Batches of events on their way.
pub(super) type Ahead = JoinHandle<Result<Vec<(Sequence, String)>, StoreError>>;

/// Tasks whose records are read in one go.
const RECORDS: u32 = 10_000;

impl Run {
    pub(super) async fn batch(&mut self, sequence: Sequence, text: &str) -> Result<(), Error> {
        if sequence <= self.sequence {
            return Ok(());
        }
        if sequence.follows(self.sequence) {
            self.take(sequence, text);
            self.flush().await?;
            return self.look_at_halt().await;
        }
        self.behind = true;
        Ok(())
    }

    fn take(&mut self, sequence: Sequence, text: &str) {
        self.sequence = sequence;
        let now = self.start.elapsed();
        for event in Event::parse_batch(text) {
            if let Some(change) = self.view.apply(&event, now) {
                self.pending.push(change);
            }
        }
    }

    /// Reads what was missed, to its end: from the stream if it is still there, else from the state of every task.
    pub(super) async fn catch_up(&mut self) -> Result<(), Error> {
        self.behind = true;
        while self.behind && self.catch_up_a_step().await? {}
        Ok(())
    }

    /// Reads the next part of what was missed; a long job is read in many, and signals are heard between them. Whether
    /// Redis was there.
    pub(super) async fn catch_up_a_step(&mut self) -> Result<bool, Error> {
        let reading = self.ahead.take().unwrap_or_else(|| self.read_after(self.sequence));
        let batches = reading.await.expect("reading neither panics nor is aborted");
        let Some(batches) = self.tolerate(batches)? else { return Ok(false) };
        let Some(last) = batches.last().map(|(sequence, _)| *sequence) else {
            self.behind = false;
            if std::mem::take(&mut self.gap) {
                self.reconcile().await?;
            }
            return Ok(true);
        };
        // the next part comes while this one is told: a long job is seen in half the time
        self.ahead = Some(self.read_after(last));
        for (sequence, text) in batches {
            if sequence <= self.sequence {
                continue; // it has been published meanwhile
            }
            // the first batch of all is number 1 of whatever epoch the server is in
            self.gap |= !(sequence.follows(self.sequence) || (self.sequence == Sequence::default() && sequence.n == 1));
            self.take(sequence, &text);
        }
        self.flush().await?;
        Ok(true)
    }

    /// Asks for the batches after one, at once.
    fn read_after(&self, from: Sequence) -> Ahead {
        let (store, job) = (self.store.clone(), self.spec.id.clone());
        tokio::spawn(async move { store.events_after(&job, from).await })
    }

    /// Brings the view to the truth.
    pub(super) async fn reconcile(&mut self) -> Result<(), Error> {
        let snapshot = self.store.snapshot(&self.spec.id).await;
        let Some(snapshot) = self.tolerate(snapshot)? else {
            self.behind = true;
            return Ok(());
        };
        self.view.reload(&snapshot);
        self.sequence = self.sequence.max(snapshot.sequence);
        let now = self.start.elapsed();
        for group in self.view.differing(&snapshot) {
            let added = snapshot.groups[group as usize].added;
            for first in (0..added).step_by(RECORDS as usize) {
                let records = self.store.records(&self.spec.id, group, first, RECORDS.min(added - first)).await;
                for record in self.tolerate(records)?.unwrap_or_default() {
                    self.pending.extend(self.view.record(group, &record, now));
                }
            }
        }
        self.flush().await
    }

    pub(super) async fn push(&mut self, changes: Vec<Change>) -> Result<(), Error> {
        self.pending.extend(changes);
        self.flush().await
    }

    /// Gives names to what changed, and tells. Whatever cannot be named now, because Redis is away, waits.
    pub(super) async fn flush(&mut self) -> Result<(), Error> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let prepared = self.names.prepare(&self.pending).await;
        if self.tolerate(prepared)?.is_none() {
            return Ok(());
        }
        let details = self.names.details(&self.pending).await;
        let Some(details) = self.tolerate(details)? else { return Ok(()) };
        let mut details = details.into_iter();
        let mut lost: BTreeMap<String, u32> = BTreeMap::new();
        for change in std::mem::take(&mut self.pending) {
            if let Change::Back { lost: true, slot: Some(slot), .. } = &change {
                *lost.entry(self.names.place(slot, 0).host).or_default() += 1;
            }
            let detail = self.names.wanted(&change).and_then(|_| details.next().flatten());
            let fact = self.fact(change, detail);
            self.tell_unseen(&fact)?;
            self.tell(&fact)?;
        }
        for (host, n) in lost {
            self.tell(&Fact::Note(format!(
                "a worker on {host} died or was cut off: {n} of its tasks are handed out again"
            )))?;
        }
        self.settle()
    }

    /// Tells what changed with the names that are known: no more will be.
    pub(super) fn tell_all_pending(&mut self) {
        for change in std::mem::take(&mut self.pending) {
            let fact = self.fact(change, None);
            let _ = self.tell(&fact);
        }
    }

    fn fact(&mut self, change: Change, detail: Option<Detail>) -> Fact {
        match change {
            Change::Added { group, count } => Fact::Added { group: self.names.group(group), count },
            Change::Claimed { group, first, count, fence, number, slot } => {
                self.note_claim(group, &slot.worker);
                Fact::Claimed {
                    group: self.names.group(group),
                    first,
                    count,
                    fence,
                    place: self.names.place(&slot, number),
                }
            }
            Change::Ended(end) => {
                let named = self.names.known(end.task).is_some();
                let attempt = self.names.attempt(&end, detail, true);
                if attempt.kind == GroupKind::Collect && attempt.outcome.is_failure() {
                    self.evidence.collections.push(attempt.detail.exit);
                }
                self.evidence.answered |= attempt.is_answer();
                if attempt.detail.word == XFAILED {
                    self.xfailed.insert(attempt.task);
                }
                if attempt.lets_output_through() {
                    self.live.store(true, Relaxed);
                    self.names.all_details = true; // what is shown late comes with results
                }
                // the next run knows no test by the number it had in this one
                if attempt.kind == GroupKind::Tests && named {
                    self.lessons.learn(&attempt, end.first_in_slot);
                }
                Fact::Ended(attempt)
            }
            Change::Tried(end) => Fact::Tried(self.names.attempt(&end, detail, false)),
            Change::Back { task, lost, fence, slot } => {
                if let (Some(target), Some(slot)) = (self.spec.groups[task.0 as usize].collects, &slot) {
                    // who has not collected it has nothing to say of it at the end
                    self.loaded.remove(&(slot.worker.clone(), target));
                }
                let place = slot.map(|slot| self.names.place(&slot, 0));
                Fact::Back { group: self.names.group(task.0), id: self.names.id(task), lost, fence, place }
            }
            Change::Group { group, state, reason } => {
                let reason = reason::plain(&self.spec, &reason);
                let (kind, tasks) = (self.spec.groups[group as usize].kind, self.view.groups[group as usize].added);
                Fact::Group { group: self.names.group(group), kind, state, reason, tasks }
            }
            Change::Job { state, reason } => Fact::Job { state, reason },
            Change::Refused { worker, others, reason } => {
                let go = if others == 1 { "goes" } else { "go" };
                let others = count(others.into(), "other worker");
                Fact::Note(format!("{} cannot run this job: {reason}; {others} {go} on", self.names.host(&worker)))
            }
        }
    }

    fn note_claim(&mut self, group: u32, worker: &Arc<str>) {
        // of what is read later it is not known when it began: not before the job
        let at = if self.behind { Duration::ZERO } else { self.start.elapsed() };
        self.first_claim.get_or_insert(at);
        let spec = &self.spec.groups[group as usize];
        if let Some(target) = spec.collects {
            self.loaded.insert((worker.clone(), target));
        } else if spec.lanes.iter().any(|l| l.warm) {
            self.loaded.insert((worker.clone(), group));
        }
    }

    /// Live output of a task that runs; late pieces have been told with its result.
    pub(super) fn output(&mut self, task: TaskKey, fence: u64, stream: &str, bytes: Vec<u8>) -> Result<(), Error> {
        if !self.view.holds(task, fence) || !self.live.load(Relaxed) {
            return Ok(());
        }
        let error = stream == "e";
        self.shown.note(fence, task.1, error, bytes.len());
        let place = self.view.slot_of(fence).map(|(slot, number)| self.names.place(&slot, number));
        self.tell(&Fact::Output { place, error, bytes })
    }

    /// Before a result: what its test printed and has not been shown live, if it should have been.
    fn tell_unseen(&mut self, fact: &Fact) -> Result<(), Error> {
        let (Fact::Ended(attempt) | Fact::Tried(attempt)) = fact else { return Ok(()) };
        if !self.live.load(Relaxed) {
            return Ok(());
        }
        for (error, text) in self.shown.rest(attempt) {
            self.tell(&Fact::Output { place: attempt.place.clone(), error, bytes: text.into_bytes() })?;
        }
        Ok(())
    }
}
