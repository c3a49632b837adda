//! Follows work that was submitted: each task's story as events, until the job has ended.
//!
//! What is published is only the quick way to see it; the truth is read where something was missed. Nothing here decides
//! anything: the owner's deadline is renewed, expired leases are reaped, and that is all.

use std::collections::VecDeque;
use std::time::Duration;

use remuda_protocol::event::{Event, Requeue, Sequence};
use remuda_protocol::lifecycle::JobState;
use remuda_protocol::outcome::{Detail, Outcome};
use tokio::time::{Interval, MissedTickBehavior, interval};

use super::{CoordinatorError, GRACE_MS};
use crate::connection::Store;
use crate::error::StoreError;
use crate::snapshot::JobSnapshot;
use crate::watch::{Message, Subscription};

/// How often the owner's deadline is renewed and missed events are looked for.
const LOOK: Duration = Duration::from_secs(1);
/// Tasks whose records are read in one go.
const RECORDS: u32 = 10_000;
/// Keys freed in one call.
const FREED: u32 = 200;

/// One thing that happened to a task.
#[derive(Clone, Debug, PartialEq)]
pub enum TaskEvent {
    /// A worker has it.
    Claimed {
        /// The task.
        task: String,
        /// The worker's id.
        worker: String,
    },
    /// It said something. Only for looking: a broken connection loses some.
    Log {
        /// The task.
        task: String,
        /// What it said.
        text: String,
    },
    /// An attempt ended badly; the task is tried again.
    Retried {
        /// The task.
        task: String,
        /// How the attempt ended.
        outcome: Outcome,
        /// Why, and what it said.
        detail: Detail,
    },
    /// Its worker died or was cut off; the task is handed out again.
    Returned {
        /// The task.
        task: String,
    },
    /// It has ended: the only event of its kind for each task.
    Ended {
        /// The task.
        task: String,
        /// How.
        outcome: Outcome,
        /// Duration of the last attempt.
        took: Duration,
        /// Why, and what it said.
        detail: Detail,
    },
}

/// Work that goes on. Without somebody who calls [`Following::next`] it is cancelled after two minutes.
pub struct Following {
    store: Store,
    job: String,
    coordinator: String,
    owner_epoch: u64,
    names: Vec<String>,
    ended: Vec<bool>,
    watch: Option<Subscription>,
    sequence: Sequence,
    /// Where the events were at the last look: what has not come by the next one was missed.
    seen: Sequence,
    look: Interval,
    ready: VecDeque<TaskEvent>,
    over: bool,
}

impl Following {
    pub(super) fn new(store: Store, job: String, coordinator: String, names: Vec<String>, watch: Subscription) -> Self {
        let mut look = interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            store,
            job,
            coordinator,
            owner_epoch: 1,
            ended: vec![false; names.len()],
            names,
            watch: Some(watch),
            sequence: Sequence::default(),
            seen: Sequence::default(),
            look,
            ready: VecDeque::new(),
            over: false,
        }
    }

    /// The job's id, for `remuda` and for other programs.
    #[must_use]
    pub fn job(&self) -> &str {
        &self.job
    }

    /// The next event; `None` when the job has ended and every task's end was told.
    ///
    /// # Errors
    /// [`CoordinatorError::TakenOver`], or the server's after 30 s without it.
    pub async fn next(&mut self) -> Result<Option<TaskEvent>, CoordinatorError> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Ok(Some(event));
            }
            if self.over {
                return Ok(None);
            }
            tokio::select! {
                message = next_of(&mut self.watch) => match message {
                    Some(Message::Events(sequence, text)) => self.batch(sequence, &text).await?,
                    Some(Message::Output { task, bytes, .. }) => {
                        let text = String::from_utf8_lossy(&bytes).into_owned();
                        self.ready.extend(self.name(task).map(|task| TaskEvent::Log { task, text }));
                    }
                    Some(Message::Control(_)) => {}
                    None => self.watch = None,
                },
                _ = self.look.tick() => self.look_after().await?,
            }
        }
    }

    /// Cancels what has not ended. Its end is still told by [`Following::next`].
    ///
    /// # Errors
    /// The server's.
    pub async fn cancel(&self) -> Result<(), CoordinatorError> {
        self.store.cancel(&self.job, "user", None).await?;
        Ok(())
    }

    /// Follows to the end without looking, and says how the job ended; what it left on the farm is freed.
    ///
    /// # Errors
    /// As [`Following::next`].
    pub async fn close(mut self) -> Result<JobSnapshot, CoordinatorError> {
        while self.next().await?.is_some() {}
        let snapshot = self.store.snapshot(&self.job).await?;
        while self.store.gc(FREED, Some(&self.job)).await?.1 {}
        Ok(snapshot)
    }

    fn name(&self, task: u32) -> Option<String> {
        self.names.get(task as usize).cloned()
    }

    /// Once a second: renews the owner's deadline, reaps, notices what was missed and that the job has ended.
    async fn look_after(&mut self) -> Result<(), CoordinatorError> {
        let adopted = self.store.adopt(&self.job, &self.coordinator, self.owner_epoch, GRACE_MS, true).await?;
        if adopted.lost {
            return Err(CoordinatorError::TakenOver { job: self.job.clone() });
        }
        self.owner_epoch = adopted.epoch;
        self.store.reap(100).await?;
        if self.watch.is_none() {
            self.watch = self.store.watch(&self.job, true).await.ok();
        }
        let seen = std::mem::replace(&mut self.seen, adopted.sequence);
        if self.sequence < seen {
            self.catch_up().await?;
        }
        // not before its last events: they say more
        if is_over(&adopted.state) && self.sequence >= adopted.sequence { self.reconcile().await } else { Ok(()) }
    }

    async fn batch(&mut self, sequence: Sequence, text: &str) -> Result<(), CoordinatorError> {
        if sequence <= self.sequence {
            return Ok(());
        }
        if sequence.follows(self.sequence) { self.take(sequence, text).await } else { self.catch_up().await }
    }

    /// Reads what was missed: from the stream if it is still there, else from the state of every task.
    async fn catch_up(&mut self) -> Result<(), CoordinatorError> {
        loop {
            let batches = self.store.events_after(&self.job, self.sequence).await?;
            if batches.is_empty() {
                return Ok(());
            }
            for (sequence, text) in batches {
                // the first batch of all is number 1 of whatever epoch the server is in
                let gap =
                    !(sequence.follows(self.sequence) || (self.sequence == Sequence::default() && sequence.n == 1));
                if gap {
                    self.reconcile().await?;
                }
                self.take(sequence, &text).await?;
            }
        }
    }

    async fn take(&mut self, sequence: Sequence, text: &str) -> Result<(), CoordinatorError> {
        let events: Vec<Event> = Event::parse_batch(text).collect();
        let wanted: Vec<(u32, u32, u64)> = events.iter().filter_map(with_detail).collect();
        let found = self.store.details(&self.job, &wanted).await?;
        let mut details = found.into_iter();
        for event in events {
            let detail = with_detail(&event).and_then(|_| details.next().flatten());
            self.tell(event, detail.unwrap_or_default());
        }
        self.sequence = sequence;
        if self.over { self.reconcile().await } else { Ok(()) }
    }

    fn tell(&mut self, event: Event, detail: Detail) {
        match event {
            Event::Claimed { first, count, worker, .. } => {
                let names = (first..first + count).filter_map(|t| self.name(t)).collect::<Vec<_>>();
                self.ready.extend(names.into_iter().map(|task| TaskEvent::Claimed { task, worker: worker.clone() }));
            }
            Event::Tried { task, outcome, .. } => {
                self.ready.extend(self.name(task).map(|task| TaskEvent::Retried { task, outcome, detail }));
            }
            Event::Requeued { task, why: Requeue::Lost, .. } => {
                self.ready.extend(self.name(task).map(|task| TaskEvent::Returned { task }));
            }
            Event::Ended { task, outcome, us, .. } => self.end(task, outcome, us, detail),
            Event::Job { state, .. } => self.over |= is_over(&state),
            Event::Added { .. } | Event::Requeued { .. } | Event::Group { .. } | Event::Refused { .. } => {}
        }
    }

    fn end(&mut self, task: u32, outcome: Outcome, us: u64, detail: Detail) {
        let (Some(name), Some(ended)) = (self.name(task), self.ended.get_mut(task as usize)) else { return };
        if !std::mem::replace(ended, true) {
            let took = Duration::from_micros(us);
            self.ready.push_back(TaskEvent::Ended { task: name, outcome, took, detail });
        }
    }

    /// Tells the ends that no event told: those that were missed, and what ended with its group.
    async fn reconcile(&mut self) -> Result<(), CoordinatorError> {
        let snapshot = match self.store.snapshot(&self.job).await {
            Ok(snapshot) => snapshot,
            Err(StoreError::UnknownJob { .. }) => {
                JobSnapshot { state: "cancelled".to_owned(), ..JobSnapshot::default() }
            }
            Err(error) => return Err(error.into()),
        };
        let total = u32::try_from(self.names.len()).unwrap_or(u32::MAX);
        for first in (0..total).step_by(RECORDS as usize) {
            if self.ended[first as usize..].iter().take(RECORDS as usize).all(|e| *e) {
                continue;
            }
            for record in self.store.records(&self.job, 0, first, RECORDS.min(total - first)).await? {
                let (Some(outcome), false) = (record.outcome, self.ended[record.task as usize]) else { continue };
                let detail = self.store.details(&self.job, &[(0, record.task, record.fence)]).await?.pop().flatten();
                self.end(record.task, outcome, record.us, detail.unwrap_or_default());
            }
        }
        if is_over(&snapshot.state) {
            self.over = true;
            for task in (0..total).filter(|t| !self.ended[*t as usize]).collect::<Vec<_>>() {
                self.end(task, Outcome::Cancelled, 0, Detail { reason: snapshot.reason.clone(), ..Detail::default() });
            }
        }
        Ok(())
    }
}

fn is_over(state: &str) -> bool {
    JobState::from_word(state).is_some_and(JobState::is_over)
}

fn with_detail(event: &Event) -> Option<(u32, u32, u64)> {
    match event {
        Event::Ended { group, task, fence, detail: Some(true), .. }
        | Event::Tried { group, task, fence, detail: Some(true), .. } => Some((*group, *task, *fence)),
        _ => None,
    }
}

async fn next_of(watch: &mut Option<Subscription>) -> Option<Message> {
    match watch {
        Some(watch) => watch.next().await,
        None => std::future::pending().await,
    }
}
