//! The daemon: one loop, one inbox. Every source (keepers, runners, the store, the heart, signals, the bell) becomes
//! a `Message`; a handler changes state; then `advance` and `pump` act on what the state now asks for.
//!
//! `slots` holds what each slot has in its hands, `claims` talks to the store, `commands` and `suites` are the two
//! ways to run a task, `collect` serves collect tasks, `closing` ends a suite, `owed` holds back what must wait for that,
//! `aside` leaves to others what cannot be run here, `departures` lets who ends finish speaking, `halt` hurries failures
//! that may end a job, `medians` learns limits, `outputs` keeps whole what commands print, `shutdown` ends it all,
//! `status` tells what runs, `stop` ends or takes back what slots have in hand.

mod aside;
mod claims;
mod closing;
mod collect;
mod commands;
mod departures;
mod halt;
mod inbox;
mod jobs;
mod limits;
mod live;
mod medians;
mod outputs;
mod owed;
mod shutdown;
mod slots;
mod status;
mod stop;
mod suites;

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::{Duration, Instant};

use remuda_store::{Bell, ConnectOptions, HostReport, Registration, Store};
use tokio::sync::mpsc;

use crate::error::WorkerError;
use crate::heartbeat::Heart;
use crate::loader::process::Loader;
use crate::loader::sources;
use crate::settings::Settings;
use crate::state::{self, StateLock};
use crate::warden::{Deadlines, Keeper, KeeperEvent, KeeperSender, Options, Warden};
use inbox::{Inbox, Message};
use jobs::Job;
use shutdown::Drain;
use slots::Slot;

/// How often the loop looks at clocks when nothing else happens while something runs.
const TICK: Duration = Duration::from_millis(100);
/// How long one call waits for a server that is away.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long what must not be lost waits for it.
const LONG_PATIENCE: Duration = Duration::from_secs(60);
/// Loaders that a daemon may have over its life beside the slots' own keepers.
const MOST_LOADERS: usize = 512;

/// How often an idle corner of the daemon frees what ended jobs left.
const SWEEP: Duration = Duration::from_secs(60);

/// Frees ended jobs whose time has come, for as long as the daemon lives.
fn sweep(store: Store) {
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(SWEEP).await;
            while matches!(store.gc(200, None).await, Ok((_, true))) {}
        }
    });
}

/// The daemon's state.
struct Daemon {
    settings: Settings,
    store: Store,
    warden: Warden,
    deadlines: Deadlines,
    heart: Heart,
    inbox: mpsc::UnboundedSender<Message>,
    slots: Vec<Slot>,
    jobs: HashMap<String, Job>,
    asking: aside::Asking,
    loaders: HashMap<u64, Loader>,
    /// Numbers for units, loaders and runners.
    serial: u64,
    outbox: claims::Outbox,
    drain: Option<Drain>,
    /// Somebody asked it to take no more work for now.
    paused: bool,
    live: live::Live,
    medians: medians::Medians,
    outputs: outputs::Outputs,
    /// Last results of claims with locks, by the generation of the runner that must end first.
    owed: HashMap<u64, owed::Owed>,
    departures: departures::Departures,
    /// Suites that this host cannot load.
    unloadable: HashSet<(String, u32)>,
    /// How often a suite's loader died by itself.
    deaths: HashMap<(String, u32), u32>,
    /// Closing reports in the making.
    closing: HashMap<(String, u32), HostReport>,
    /// Closing reports on their way.
    reporting: u32,
    /// The runners' entry files.
    mains: sources::Mains,
    _folder: tempfile::TempDir,
}

/// Runs until it has drained.
///
/// # Errors
/// It could not start, or Redis refuses it for good.
pub async fn run(mut settings: Settings) -> Result<(), WorkerError> {
    let mut lock = settings.state.as_deref().map(|folder| state::take(folder, &settings.worker)).transpose()?;
    settings.scratch = settings.scratch.or_else(|| lock.as_ref().map(|l| l.scratch.clone()));
    // a call that waits for the server is made again by whoever needs it, so that the loop never stands still
    let store = Store::connect(ConnectOptions::new(&settings.url, &settings.farm)).await?.patient(PATIENCE);
    let capacity = settings.slots as usize + MOST_LOADERS;
    let warden = Warden::start(Options { capacity, ..Options::default() }).await.map_err(WorkerError::Warden)?;
    if let Some(lock) = &mut lock {
        lock.supervised_by(&settings.worker, warden.pid());
    }
    let end = warden.end();
    let (inbox, messages) = mpsc::unbounded_channel();
    let mut daemon = Daemon::new(settings, store, warden, inbox)?;
    daemon.register(lock.as_ref().and_then(|l| l.predecessor.clone())).await?;
    daemon.listen().await?;
    if !daemon.settings.embedded {
        crate::memory::forget_start();
    }
    let mut inbox = Inbox::new(messages);
    let ended = tokio::select! {
        biased;
        // before a word of its keepers: what they were told to run is not to blame for their end
        () = end => return Err(daemon.bury(&mut inbox).await),
        ended = daemon.herd(&mut inbox) => ended,
    };
    daemon.leave(lock).await;
    ended
}

impl Daemon {
    fn new(
        settings: Settings,
        store: Store,
        warden: Warden,
        inbox: mpsc::UnboundedSender<Message>,
    ) -> Result<Self, WorkerError> {
        let machine = |what| move |error| WorkerError::Machine { what, error };
        let folder = tempfile::Builder::new()
            .prefix("remuda-worker-")
            .tempdir_in(settings.scratch.clone().unwrap_or_else(std::env::temp_dir))
            .map_err(machine("make a temporary folder"))?;
        let mains = sources::lay_down(folder.path()).map_err(machine("write the runners"))?;
        let deadlines = warden.deadlines();
        let (pulses, mut pulse) = mpsc::unbounded_channel();
        let heart =
            Heart::start(&settings, &store, deadlines.clone(), pulses).map_err(machine("start the heartbeat"))?;
        let to = inbox.clone();
        tokio::spawn(async move {
            while let Some(found) = pulse.recv().await {
                let _ = to.send(Message::Pulse(found));
            }
        });
        let slots = (0..settings.slots).map(Slot::new).collect();
        let outbox = claims::Outbox::default();
        let outputs = outputs::Outputs::new(settings.outputs.clone());
        let live = live::Live::new(store.clone());
        let (jobs, loaders) = (HashMap::new(), HashMap::new());
        Ok(Self {
            settings,
            store,
            warden,
            deadlines,
            heart,
            inbox,
            slots,
            jobs,
            asking: aside::Asking::default(),
            loaders,
            serial: 0,
            outbox,
            drain: None,
            paused: false,
            live,
            medians: medians::Medians::default(),
            outputs,
            owed: HashMap::new(),
            departures: departures::Departures::default(),
            unloadable: HashSet::new(),
            deaths: HashMap::new(),
            closing: HashMap::new(),
            reporting: 0,
            mains,
            _folder: folder,
        })
    }

    fn registration(&self) -> Registration {
        let about = serde_json::json!({"host": self.settings.host, "version": env!("CARGO_PKG_VERSION"), "pid": std::process::id(), "protocol": remuda_protocol::PROTOCOL});
        Registration {
            worker: self.settings.worker.clone(),
            lease_ms: self.settings.lease_ms(),
            labels: self.settings.labels.clone(),
            slots: self.settings.slots,
            about: about.to_string(),
            held: self.fences(),
            ..Registration::default()
        }
    }

    async fn register(&self, predecessor: Option<String>) -> Result<(), WorkerError> {
        self.store.resync(&Registration { predecessor, ..self.registration() }).await?;
        Ok(())
    }

    /// Starts what fills the inbox besides processes: bell, control channel, signals.
    async fn listen(&self) -> Result<(), WorkerError> {
        inbox::ring(Bell::new(&self.store, &self.settings.labels), self.inbox.clone());
        inbox::control(self.store.clone(), self.inbox.clone());
        sweep(self.store.clone());
        inbox::signals(&self.inbox).map_err(|error| WorkerError::Machine { what: "listen for signals", error })
    }

    /// The loop.
    async fn herd(&mut self, inbox: &mut Inbox) -> Result<(), WorkerError> {
        self.outbox.ring();
        loop {
            self.tick(Instant::now());
            self.pump();
            if self.has_drained(Instant::now()) {
                return Ok(());
            }
            let wait = self.next_look();
            for message in inbox.some(wait).await {
                self.handle(message).await?;
            }
        }
    }

    fn next_look(&self) -> Duration {
        let waits = self.outbox.waits() || !self.departures.is_empty() || !self.owed.is_empty();
        let busy = self.slots.iter().any(|s| !s.queue.is_empty()) || waits || self.drain.is_some();
        if busy { TICK } else { self.outbox.until_next_look(Instant::now()) }
    }

    async fn handle(&mut self, message: Message) -> Result<(), WorkerError> {
        match message {
            Message::Next(call, sent_ms, reply) => self.on_reply(*call, sent_ms, reply).await?,
            Message::Keeper(slot, event) => self.on_command_event(slot, event),
            Message::Loader(id, event) => self.on_loader_unit(id, event),
            Message::Control(id, message) => self.on_control(id, message),
            Message::Runner(slot, generation, message) => self.on_runner(slot, generation, message),
            Message::Added(id, result) => self.on_added(id, result),
            Message::Spec(job, spec) => self.on_spec(&job, spec),
            Message::Refused(question, answer) => self.on_refused(&question, answer),
            Message::Pulse(pulse) => self.on_pulse(pulse).await?,
            Message::Word(word) => self.on_word(&word),
            Message::Bell => self.outbox.ring(),
            Message::Reported => self.reporting = self.reporting.saturating_sub(1),
            Message::Signal(kind) => self.on_signal(kind),
        }
        let mut slots: VecDeque<u32> = (0..self.settings.slots).collect();
        while let Some(slot) = slots.pop_front() {
            self.advance(slot).await;
        }
        Ok(())
    }

    /// Gives a slot's unsent tasks to what runs them.
    async fn advance(&mut self, slot: u32) {
        let Some((job, group)) = self.slots[slot as usize].work() else { return };
        match self.job(&job) {
            jobs::Found::Waiting => {}
            jobs::Found::Refused(why) => self.cannot_run(slot, &why),
            jobs::Found::Ready(spec) => {
                use remuda_protocol::spec::{Adapter, GroupKind};
                let group_spec = &spec.groups[group as usize];
                match (&group_spec.kind, &group_spec.adapter) {
                    (GroupKind::Collect, _) => self.advance_collect(slot, &spec, group).await,
                    (_, Adapter::Command { template }) => self.advance_commands(slot, &spec, group, template).await,
                    _ => self.advance_suite(slot, &spec, group).await,
                }
            }
        }
    }

    fn next_serial(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }

    /// A keeper whose events come as `to_message` makes them.
    async fn new_keeper(
        &self,
        index: usize,
        to_message: impl Fn(KeeperEvent) -> Message + Send + 'static,
    ) -> std::io::Result<KeeperSender> {
        Ok(self.listen_to(self.warden.keeper(index).await?, false, to_message))
    }

    /// A keeper for a single unit: it goes when that has ended.
    async fn new_keeper_once(
        &self,
        index: usize,
        to_message: impl Fn(KeeperEvent) -> Message + Send + 'static,
    ) -> std::io::Result<KeeperSender> {
        Ok(self.listen_to(self.warden.keeper(index).await?, true, to_message))
    }

    fn listen_to(
        &self,
        mut keeper: Keeper,
        once: bool,
        to_message: impl Fn(KeeperEvent) -> Message + Send + 'static,
    ) -> KeeperSender {
        let (sender, inbox) = (keeper.sender(), self.inbox.clone());
        tokio::spawn(async move {
            while let Some(event) = keeper.next_event().await {
                let last = once && matches!(event, KeeperEvent::Exited(_));
                if inbox.send(to_message(event)).is_err() || last {
                    return;
                }
            }
        });
        sender
    }
}
