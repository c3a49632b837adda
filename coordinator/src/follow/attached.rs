//! The loop of an attached run: events in as they are published (`intake`), the owner's deadline renewed, signals
//! obeyed, until the job has ended. Truth is Redis' state; what is published is only the quick way to see it. How the
//! run is closed is `ending`'s.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use remuda_protocol::event::Sequence;
use remuda_protocol::lifecycle::JobState;
use remuda_protocol::spec::JobSpec;
use remuda_store::{Message, Store, StoreError, Subscription};
use tokio::task::JoinHandle;

use super::alive::Alive;
use super::course::died;
use super::intake::Ahead;
use super::keys::Keys;
use super::names::Names;
use super::shown::Shown;
use super::signals::{Signal, Signals};
use super::verdict::Evidence;
use super::view::{Change, JobView, TaskKey};
use crate::config::limits::Halt;
use crate::embedded::Embedded;
use crate::error::{Error, Exit};
use crate::history::Lessons;
use crate::report::{Fact, Reporter};

/// How often the bar moves.
const FRAME: Duration = Duration::from_millis(100);
/// How long one call in the loop may wait for a server that is away.
const PATIENCE: Duration = Duration::from_millis(500);
/// How long the run goes on without a server.
const OUTAGE: Duration = Duration::from_secs(300);

/// An owner that has said nothing for so long is taken for dead.
const SILENT: Duration = Duration::from_secs(6);

/// What this program is to the job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Its coordinator: the job ends when this program does, unless it is detached.
    Owner,
    /// Somebody who looks on, and may become the owner when there is none any more.
    Visitor {
        /// Whether it may.
        adopts: bool,
    },
}

impl Role {
    pub(super) fn owns(self) -> bool {
        self == Self::Owner
    }
}

/// How to follow.
#[derive(Clone, Debug)]
pub struct Options {
    /// What this program is to the job.
    pub role: Role,
    /// How long the job took, if it has ended already.
    pub took: Option<Duration>,
    /// Stop following after this time.
    pub patience: Option<Duration>,
    /// This program's id as an owner.
    pub coordinator: String,
    /// How long the job outlives it, ms; 0: it is detached.
    pub grace_ms: u64,
    /// Show live output.
    pub live: bool,
    /// Give up when no worker fits for so long.
    pub queue_timeout: Duration,
    /// A visitor that does so as well.
    pub gives_up: bool,
    /// Flaky is failed.
    pub fail_on_flaky: bool,
    /// Reports want the details of passes too.
    pub all_details: bool,
    /// The worker is this program's own child: it will come, or its death will be seen.
    pub embedded: bool,
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
    /// The job's start, which may lie before that of this program.
    pub(super) start: Instant,
    began: Instant,
    pub(super) sequence: Sequence,
    pub(super) evidence: Evidence,
    /// Tests that failed as expected of them: skipped, in our words.
    pub(super) xfailed: BTreeSet<TaskKey>,
    pub(super) failed_to_submit: Option<Error>,
    /// Hosts' loaded suites: worker and group of tests.
    pub(super) loaded: BTreeSet<(Arc<str>, u32)>,
    /// What this run teaches.
    pub lessons: Lessons,
    pub(super) submitting: bool,
    pub(super) pending: Vec<Change>,
    /// What was published is not all that is there: it must be read.
    pub(super) behind: bool,
    pub(super) ahead: Option<Ahead>,
    /// Something is missing in what was read.
    pub(super) gap: bool,
    pub(super) shown: Shown,
    /// Whether live output is shown; a suite may turn out to want it.
    pub(super) live: Arc<AtomicBool>,
    owner_epoch: u64,
    pub(super) away_since: Option<Instant>,
    next_look: Duration,
    looks: u64,
    pub(super) unfit_since: Option<Instant>,
    pub(super) waiting: String,
    pub(super) first_claim: Option<Duration>,
    /// When failures end it.
    pub halt: Option<Halt>,
    pub(super) halted: bool,
    /// Keys of the terminal, if they are listened to.
    pub keys: Option<Keys>,
}

impl Run {
    /// A run of a job that is about to be opened.
    #[must_use]
    pub fn new(
        store: &Store,
        spec: Arc<JobSpec>,
        options: Options,
        reporters: Vec<Box<dyn Reporter>>,
        start: Instant,
    ) -> Self {
        let names = Names::new(store.patient(PATIENCE), spec.clone(), options.all_details);
        let narrowed = spec.groups.iter().any(|group| !group.only.is_empty());
        let evidence = Evidence { fail_on_flaky: options.fail_on_flaky, narrowed, ..Evidence::default() };
        Self {
            store: store.patient(PATIENCE),
            view: JobView::new(&spec),
            names,
            spec,
            live: Arc::new(AtomicBool::new(options.live)),
            options,
            reporters,
            start,
            began: Instant::now(),
            sequence: Sequence::default(),
            evidence,
            xfailed: BTreeSet::new(),
            failed_to_submit: None,
            loaded: BTreeSet::new(),
            lessons: Lessons::default(),
            submitting: true,
            pending: Vec::new(),
            behind: true,
            ahead: None,
            gap: false,
            shown: Shown::default(),
            owner_epoch: 1,
            away_since: None,
            next_look: Duration::ZERO,
            looks: 0,
            unfit_since: None,
            waiting: String::new(),
            first_claim: None,
            halt: None,
            halted: false,
            keys: None,
        }
    }

    /// Tells every reporter.
    ///
    /// # Errors
    /// One of them cannot write.
    pub fn tell(&mut self, fact: &Fact) -> Result<(), Error> {
        let at = self.start.elapsed();
        self.each(|reporter| reporter.fact(fact, at))
    }

    /// Does something with every reporter: one that cannot write does not keep the others from it.
    pub(super) fn each(&mut self, mut act: impl FnMut(&mut dyn Reporter) -> std::io::Result<()>) -> Result<(), Error> {
        let mut failed = None;
        for reporter in &mut self.reporters {
            if let Err(error) = act(reporter.as_mut()) {
                failed.get_or_insert(Error::report(reporter.name(), error));
            }
        }
        failed.map_or(Ok(()), Err)
    }

    /// Lets what was told be seen.
    pub(super) fn settle(&mut self) -> Result<(), Error> {
        self.each(|reporter| reporter.settle())
    }

    /// Leaves every report in order, without an end.
    pub fn leave(&mut self) {
        self.reporters.iter_mut().for_each(|r| r.leave());
    }

    /// Follows the job to its end. `watch` was subscribed before the job was opened.
    ///
    /// # Errors
    /// The job cannot be followed any more; what happens to it then is up to its owner's deadline.
    pub(super) async fn follow(
        &mut self,
        watch: Subscription,
        mut submit: JoinHandle<Result<(), Error>>,
        children: &mut Option<Embedded>,
    ) -> Result<(), Error> {
        let mut watch = Some(watch);
        let mut signals = Signals::new().map_err(|e| Error::io("listen for signals", e))?;
        let mut keys = self.keys.take();
        let _alive = (self.options.role == Role::Owner && self.options.grace_ms > 0).then(|| {
            let (job, options) = (self.spec.id.clone(), self.options.clone());
            Alive::start(self.store.clone(), job, options.coordinator, options.grace_ms, self.live.clone())
        });
        let mut frame = tokio::time::interval(FRAME);
        frame.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while !JobState::from_word(&self.view.state).is_some_and(JobState::is_over) {
            tokio::select! {
                message = next_of(&mut watch) => match message {
                    Some(Message::Events(sequence, text)) => self.batch(sequence, &text).await?,
                    Some(Message::Output { group, task, fence, stream, bytes, .. }) => {
                        self.output((group, task), fence, &stream, bytes)?;
                    }
                    Some(Message::Control(_)) => {}
                    None => (watch, self.behind) = (None, true),
                },
                ended = &mut submit, if self.submitting => {
                    self.submitting = false;
                    self.submitted_all(ended.unwrap_or_else(|e| Err(Error::io("submit", std::io::Error::other(e))))).await?;
                }
                // never dropped half-way, and at most a part at a time: signals are heard in between
                () = std::future::ready(()), if self.behind && self.away_since.is_none() => drop(self.catch_up_a_step().await?),
                _ = frame.tick() => {
                    if watch.is_none() {
                        watch = self.store.watch(&self.spec.id, true).await.ok();
                    }
                    self.tick().await?;
                }
                signal = signals.next() => self.on_signal(signal).await?,
                () = Keys::next(&mut keys) => self.on_signal(Signal::Status).await?,
                death = died(children) => self.outlive(death, children).await?,
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
    pub(super) fn tolerate<T>(&mut self, result: Result<T, StoreError>) -> Result<Option<T>, Error> {
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

    async fn tick(&mut self) -> Result<(), Error> {
        let now = self.start.elapsed();
        if self.behind && self.away_since.is_some() {
            self.catch_up_a_step().await?;
        } else if !self.pending.is_empty() {
            self.flush().await?;
        }
        self.look_at_halt().await?;
        if now >= self.next_look {
            let deadline = self.deadline().filter(|at| *at > now);
            self.next_look = deadline.into_iter().fold(now + Duration::from_secs(1), Duration::min);
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
        self.renew().await?;
        if self.options.patience.is_some_and(|limit| self.began.elapsed() > limit) {
            return Err(Error::Impatient(self.spec.id.clone()));
        }
        self.looks += 1;
        self.mind_deadline().await?;
        if self.looks.is_multiple_of(2) {
            let reaped = self.store.reap(100).await;
            self.tolerate(reaped)?;
        }
        let runs = !self.view.running().is_empty();
        if runs {
            // whoever is missed after this has been missed for no time yet
            (self.waiting, self.unfit_since) = (String::new(), None);
        }
        let idle = !runs && self.evidence.signal.is_none() && self.away_since.is_none();
        if idle && !self.options.embedded { self.look_for_workers().await } else { Ok(()) }
    }

    /// An owner renews its deadline; a visitor looks whether there is one.
    async fn renew(&mut self) -> Result<(), Error> {
        let (job, options, live) = (self.spec.id.clone(), &self.options, self.live.load(Relaxed));
        let adopted = match options.role {
            Role::Owner => self.store.adopt(&job, &options.coordinator, self.owner_epoch, options.grace_ms, live).await,
            Role::Visitor { .. } => self.store.look_at(&job, live).await,
        };
        let Some(adopted) = self.tolerate(adopted)? else { return Ok(()) };
        self.behind |= adopted.sequence > self.sequence;
        if self.options.role.owns() {
            if adopted.lost {
                return Err(Error::TakenOver(job));
            }
            self.owner_epoch = adopted.epoch;
            return Ok(());
        }
        let dead = adopted.owner_silent_ms.is_some_and(|ms| Duration::from_millis(ms) > SILENT);
        if dead && !self.spec.detach && self.options.role == (Role::Visitor { adopts: true }) {
            (self.options.role, self.owner_epoch) = (Role::Owner, 0);
            self.tell(&Fact::Note("its coordinator is gone: this program is the job's coordinator now".into()))?;
        }
        Ok(())
    }

    /// Whether the job ends with this program.
    #[must_use]
    pub fn owns(&self) -> bool {
        self.options.role.owns() && !self.spec.detach
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
        if !self.options.role.owns() {
            return Err(Error::Left(self.spec.id.clone()));
        }
        self.evidence.signal = Some(exit);
        self.tell(&Fact::Note("stopping: what runs is being ended; once more kills it".into()))?;
        self.settle()?;
        let cancelled = self.store.cancel(&self.spec.id, "user", None).await;
        self.tolerate(cancelled).map(drop)
    }
}

async fn next_of(watch: &mut Option<Subscription>) -> Option<Message> {
    match watch {
        Some(watch) => watch.next().await,
        None => std::future::pending().await,
    }
}
