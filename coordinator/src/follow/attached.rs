//! The loop of an attached run: events in as they are published, gaps repaired from the stream or from state, the
//! owner's deadline renewed, signals obeyed, until the job has ended. Truth is Redis' state; what is published is
//! only the quick way to see it. How the run is closed is `ending`'s.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use remuda_protocol::event::{Event, Sequence};
use remuda_protocol::lifecycle::JobState;
use remuda_protocol::spec::{GroupKind, JobSpec};
use remuda_store::{Message, Store, StoreError, Subscription};
use tokio::task::JoinHandle;

use super::names::Names;
use super::signals::{Signal, Signals};
use super::verdict::Evidence;
use super::view::{Change, JobView};
use crate::embedded::Embedded;
use crate::error::{Error, Exit};
use crate::history::Lessons;
use crate::report::{Fact, Progress, Reporter};

/// How often the bar moves.
const FRAME: Duration = Duration::from_millis(100);
/// How long one call in the loop may wait for a server that is away.
const PATIENCE: Duration = Duration::from_millis(500);
/// How long the run goes on without a server.
const OUTAGE: Duration = Duration::from_secs(300);
/// Tasks whose records are read in one go.
const RECORDS: u32 = 10_000;

/// How to follow.
#[derive(Clone, Debug)]
pub struct Options {
    /// This program's id as an owner.
    pub coordinator: String,
    /// How long the job outlives it, ms; 0: it is detached.
    pub grace_ms: u64,
    /// Show live output.
    pub live: bool,
    /// Give up when no worker fits for so long.
    pub queue_timeout: Duration,
    /// Flaky is failed.
    pub fail_on_flaky: bool,
    /// Reports want the details of passes too.
    pub all_details: bool,
    /// `test` or `task`.
    pub noun: &'static str,
    /// Where the log is.
    pub log: String,
}

/// A run that is followed.
pub struct Run {
    pub(super) store: Store,
    pub(super) spec: Arc<JobSpec>,
    pub(super) options: Options,
    pub(super) view: JobView,
    pub(super) names: Names,
    pub(super) reporters: Vec<Box<dyn Reporter>>,
    pub(super) start: Instant,
    pub(super) sequence: Sequence,
    pub(super) evidence: Evidence,
    pub(super) failed_to_submit: Option<Error>,
    /// Hosts' loaded suites: worker and group of tests.
    pub(super) loaded: BTreeSet<(Arc<str>, u32)>,
    /// What this run teaches.
    pub lessons: Lessons,
    submitted: Arc<AtomicU64>,
    submitting: bool,
    pending: Vec<Change>,
    behind: bool,
    owner_epoch: u64,
    away_since: Option<Instant>,
    next_look: Duration,
    looks: u64,
    unfit_since: Option<Instant>,
    waiting: String,
    first_claim: Option<Duration>,
}

impl Run {
    /// A run of a job that is about to be opened.
    #[must_use]
    pub fn new(store: &Store, spec: Arc<JobSpec>, options: Options, reporters: Vec<Box<dyn Reporter>>, start: Instant, submitted: Arc<AtomicU64>) -> Self {
        let names = Names::new(store.patient(PATIENCE), spec.clone(), options.all_details);
        let evidence = Evidence { fail_on_flaky: options.fail_on_flaky, ..Evidence::default() };
        Self {
            store: store.patient(PATIENCE),
            view: JobView::new(&spec),
            names,
            spec,
            options,
            reporters,
            start,
            sequence: Sequence::default(),
            evidence,
            failed_to_submit: None,
            loaded: BTreeSet::new(),
            lessons: Lessons::default(),
            submitted,
            submitting: true,
            pending: Vec::new(),
            behind: true,
            owner_epoch: 1,
            away_since: None,
            next_look: Duration::ZERO,
            looks: 0,
            unfit_since: None,
            waiting: String::new(),
            first_claim: None,
        }
    }

    /// Tells every reporter.
    ///
    /// # Errors
    /// One of them cannot write.
    pub fn tell(&mut self, fact: &Fact) -> Result<(), Error> {
        let at = self.start.elapsed();
        for reporter in &mut self.reporters {
            reporter.fact(fact, at).map_err(|e| Error::io("write a report", e))?;
        }
        Ok(())
    }

    /// Leaves every report in order, without an end.
    pub fn leave(&mut self) {
        self.reporters.iter_mut().for_each(|r| r.leave());
    }

    /// Follows the job to its end. `watch` was subscribed before the job was opened.
    ///
    /// # Errors
    /// The job cannot be followed any more; what happens to it then is up to its owner's deadline.
    pub async fn follow(&mut self, watch: Subscription, mut submit: JoinHandle<Result<(), Error>>, children: &mut Option<Embedded>) -> Result<(), Error> {
        let mut watch = Some(watch);
        let mut signals = Signals::new().map_err(|e| Error::io("listen for signals", e))?;
        let mut frame = tokio::time::interval(FRAME);
        frame.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while !JobState::from_word(&self.view.state).is_some_and(JobState::is_over) {
            tokio::select! {
                message = next_of(&mut watch) => match message {
                    Some(Message::Events(sequence, text)) => self.batch(sequence, &text).await?,
                    Some(Message::Output { fence, stream, bytes, .. }) => self.output(fence, &stream, bytes)?,
                    Some(Message::Control(_)) => {}
                    None => (watch, self.behind) = (None, true),
                },
                ended = &mut submit, if self.submitting => {
                    self.submitting = false;
                    self.submitted_all(ended.unwrap_or_else(|e| Err(Error::io("submit", std::io::Error::other(e))))).await?;
                }
                _ = frame.tick() => {
                    if watch.is_none() {
                        watch = self.store.watch(&self.spec.id, self.options.live).await.ok();
                    }
                    self.tick().await?;
                }
                signal = signals.next() => self.on_signal(signal).await?,
                error = died(children) => return Err(error),
            }
        }
        submit.abort();
        Ok(())
    }

    async fn submitted_all(&mut self, result: Result<(), Error>) -> Result<(), Error> {
        match result {
            Ok(()) => Ok(()),
            Err(error) => {
                self.failed_to_submit.get_or_insert(error);
                let cancelled = self.store.cancel(&self.spec.id, "user", None).await;
                self.tolerate(cancelled).map(drop)
            }
        }
    }

    /// `None` during an outage that may pass.
    fn tolerate<T>(&mut self, result: Result<T, StoreError>) -> Result<Option<T>, Error> {
        match result {
            Ok(value) => {
                self.away_since = None;
                Ok(Some(value))
            }
            Err(error) if error.is_outage() => {
                let since = *self.away_since.get_or_insert_with(Instant::now);
                if since.elapsed() > OUTAGE { Err(error.into()) } else { Ok(None) }
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn batch(&mut self, sequence: Sequence, text: &str) -> Result<(), Error> {
        if sequence <= self.sequence {
            return Ok(());
        }
        if sequence.follows(self.sequence) {
            self.take(sequence, text);
            return self.flush().await;
        }
        self.behind = true;
        self.catch_up().await
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

    /// Reads what was missed: from the stream if it is still there, else from the state of every task.
    pub(super) async fn catch_up(&mut self) -> Result<(), Error> {
        let mut gap = false;
        loop {
            let batches = self.store.events_after(&self.spec.id, self.sequence).await;
            let Some(batches) = self.tolerate(batches)? else { return Ok(()) };
            if batches.is_empty() {
                break;
            }
            for (sequence, text) in batches {
                // the first batch of all is number 1 of whatever epoch the server is in
                gap |= !(sequence.follows(self.sequence) || (self.sequence == Sequence::default() && sequence.n == 1));
                self.take(sequence, &text);
            }
            self.flush().await?;
        }
        self.behind = false;
        if gap { self.reconcile().await } else { Ok(()) }
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
        for group in self.view.differing(&snapshot) {
            let added = snapshot.groups[group as usize].added;
            for first in (0..added).step_by(RECORDS as usize) {
                let records = self.store.records(&self.spec.id, group, first, RECORDS.min(added - first)).await;
                for record in self.tolerate(records)?.unwrap_or_default() {
                    self.pending.extend(self.view.record(group, &record));
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
        let Some(mut details) = self.tolerate(details)? else { return Ok(()) };
        let mut lost: BTreeMap<String, u32> = BTreeMap::new();
        for change in std::mem::take(&mut self.pending) {
            if let Change::Back { lost: true, slot: Some(slot), .. } = &change {
                *lost.entry(self.names.place(slot, 0).host).or_default() += 1;
            }
            let detail = match &change {
                Change::Ended(end) | Change::Tried(end) => details.remove(&(end.fence, end.task)),
                _ => None,
            };
            let fact = self.fact(change, detail);
            self.tell(&fact)?;
        }
        for (host, n) in lost {
            self.tell(&Fact::Note(format!("a worker on {host} died or was cut off: {n} of its tasks are handed out again")))?;
        }
        Ok(())
    }

    fn fact(&mut self, change: Change, detail: Option<remuda_protocol::outcome::Detail>) -> Fact {
        match change {
            Change::Added { group, count } => Fact::Added { group: self.names.group(group), count },
            Change::Claimed { group, first, count, fence, number, slot } => {
                self.note_claim(group, &slot.worker);
                Fact::Claimed { group: self.names.group(group), first, count, fence, place: self.names.place(&slot, number) }
            }
            Change::Ended(end) => {
                let attempt = self.names.attempt(&end, detail, true);
                if attempt.kind == GroupKind::Collect && attempt.outcome.is_failure() {
                    self.evidence.collections.push(attempt.detail.exit);
                }
                if attempt.kind == GroupKind::Tests {
                    self.lessons.learn(&attempt, end.first_in_slot);
                }
                Fact::Ended(attempt)
            }
            Change::Tried(end) => Fact::Tried(self.names.attempt(&end, detail, false)),
            Change::Back { task, lost, fence, slot } => {
                let place = slot.map(|slot| self.names.place(&slot, 0));
                Fact::Back { group: self.names.group(task.0), id: self.names.id(task), lost, fence, place }
            }
            Change::Group { group, state, reason } => {
                let (kind, tasks) = (self.spec.groups[group as usize].kind, self.view.groups[group as usize].added);
                Fact::Group { group: self.names.group(group), kind, state, reason, tasks }
            }
            Change::Job { state, reason } => Fact::Job { state, reason },
        }
    }

    fn note_claim(&mut self, group: u32, worker: &Arc<str>) {
        self.first_claim.get_or_insert(self.start.elapsed());
        let spec = &self.spec.groups[group as usize];
        if let Some(target) = spec.collects {
            self.loaded.insert((worker.clone(), target));
        } else if spec.lanes.iter().any(|l| l.warm) {
            self.loaded.insert((worker.clone(), group));
        }
    }

    fn output(&mut self, fence: u64, stream: &str, bytes: Vec<u8>) -> Result<(), Error> {
        let place = self.view.slot_of(fence).map(|(slot, number)| self.names.place(&slot, number));
        self.tell(&Fact::Output { place, error: stream == "e", bytes })
    }

    async fn tick(&mut self) -> Result<(), Error> {
        let now = self.start.elapsed();
        if self.behind {
            self.catch_up().await?;
        } else if !self.pending.is_empty() {
            self.flush().await?;
        }
        if now >= self.next_look {
            self.next_look = now + Duration::from_secs(1);
            self.look_after().await?;
        }
        let spec = self.spec.clone();
        let limit = move |group: u32| Duration::from_millis(spec.groups[group as usize].slow_ms);
        for (task, age) in self.view.slow(now, &limit) {
            let fact = Fact::Slow { group: self.names.group(task.0), id: self.names.id(task), age };
            self.tell(&fact)?;
        }
        self.show()
    }

    /// Once a second: renews the owner's deadline, notices missed events, reaps, sees whether anybody can work.
    async fn look_after(&mut self) -> Result<(), Error> {
        let (job, options) = (self.spec.id.clone(), &self.options);
        let adopted = self.store.adopt(&job, &options.coordinator, self.owner_epoch, options.grace_ms, options.live).await;
        if let Some(adopted) = self.tolerate(adopted)? {
            if adopted.lost {
                return Err(Error::TakenOver(job));
            }
            self.owner_epoch = adopted.epoch;
            self.behind |= adopted.sequence > self.sequence;
        }
        self.looks += 1;
        if self.looks % 2 == 0 {
            let reaped = self.store.reap(100).await;
            self.tolerate(reaped)?;
        }
        if self.view.running().is_empty() && self.evidence.signal.is_none() && self.away_since.is_none() { self.look_for_workers().await } else { Ok(()) }
    }

    async fn look_for_workers(&mut self) -> Result<(), Error> {
        let workers = self.store.workers().await;
        let Some(workers) = self.tolerate(workers)? else { return Ok(()) };
        self.waiting = super::fit::why_nobody(&self.spec, &self.view, &workers, self.store.farm(), self.store.address()).unwrap_or_default();
        if self.waiting.is_empty() {
            self.unfit_since = None;
            return Ok(());
        }
        let since = *self.unfit_since.get_or_insert_with(Instant::now);
        if since.elapsed() < self.options.queue_timeout {
            return Ok(());
        }
        self.evidence.gave_up.clone_from(&self.waiting);
        let cancelled = self.store.cancel(&self.spec.id, "queue-timeout", None).await;
        self.tolerate(cancelled).map(drop)
    }

    async fn on_signal(&mut self, signal: Signal) -> Result<(), Error> {
        let exit = match signal {
            Signal::Status => return self.tell_running(),
            Signal::Interrupt => Exit::Interrupted,
            Signal::Terminate => Exit::Terminated,
        };
        if let Some(first) = self.evidence.signal {
            return Err(Error::Killed(first));
        }
        self.evidence.signal = Some(exit);
        self.tell(&Fact::Note("stopping: what runs is being ended; once more kills it".into()))?;
        let cancelled = self.store.cancel(&self.spec.id, "user", None).await;
        self.tolerate(cancelled).map(drop)
    }

    /// What runs, where and since when.
    fn tell_running(&mut self) -> Result<(), Error> {
        let progress = self.progress();
        self.tell(&Fact::Note(crate::report::console::counter_text(&progress)))?;
        for (id, age, place) in progress.running {
            self.tell(&Fact::Note(format!("{} on {place} for {}", crate::report::text::name(&id), crate::report::text::length(age))))?;
        }
        Ok(())
    }

    pub(super) fn show(&mut self) -> Result<(), Error> {
        let progress = self.progress();
        for reporter in &mut self.reporters {
            reporter.progress(&progress).map_err(|e| Error::io("show progress", e))?;
        }
        Ok(())
    }

    fn progress(&self) -> Progress {
        let now = self.start.elapsed();
        let tests = self.view.total(GroupKind::Tests);
        let running = self.view.running();
        let complete = self.view.groups.iter().all(|g| g.kind == Some(GroupKind::Collect) || !matches!(g.state.as_str(), "waiting" | "open" | "collecting"));
        let (done, total) = (tests.done(), tests.added.max(u32::try_from(self.submitted.load(Ordering::Relaxed)).unwrap_or(u32::MAX).min(tests.added)));
        let collecting = running.iter().any(|r| self.spec.groups[r.task.0 as usize].kind == GroupKind::Collect);
        let eta = self.first_claim.filter(|_| complete && done > 0).map(|first| now.saturating_sub(first) * (total - done) / done);
        Progress {
            elapsed: now,
            phase: match () {
                () if self.evidence.signal.is_some() || self.view.state == "closing" => "Stopping",
                () if JobState::from_word(&self.view.state).is_some_and(JobState::is_over) => "Ending",
                () if collecting && tests.added == 0 => "Collecting",
                () if !running.is_empty() => "Running",
                () if self.submitting && self.waiting.is_empty() => "Submitting",
                () => "Waiting",
            },
            done,
            total,
            complete,
            failed: tests.counts[1..5].iter().sum(),
            running: running.iter().map(|r| (self.running_name(r.task), now.saturating_sub(r.since), self.names.place(&r.slot, r.number).label())).collect(),
            eta,
            waiting: if self.away_since.is_some() { format!("{} does not answer", self.store.address()) } else { self.waiting.clone() },
        }
    }

    fn running_name(&self, task: super::view::TaskKey) -> String {
        let group = &self.spec.groups[task.0 as usize];
        match group.collects {
            Some(target) => format!("collecting {}", self.spec.groups[target as usize].name),
            None => self.names.id(task).to_string(),
        }
    }
}

async fn next_of(watch: &mut Option<Subscription>) -> Option<Message> {
    match watch {
        Some(watch) => watch.next().await,
        None => std::future::pending().await,
    }
}

async fn died(children: &mut Option<Embedded>) -> Error {
    match children {
        Some(children) => children.died().await,
        None => std::future::pending().await,
    }
}
