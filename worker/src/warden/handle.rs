//! The daemon's view of one keeper: send it units, hear what became of them.

use std::ffi::OsString;
use std::io;
use std::ops::Deref;
use std::os::fd::{OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use super::capture::{Piece, Stream};
use super::messages::{Exited, FromKeeper, Run, Spec, Status, ToKeeper};
use super::socket::{self, Receiver, Sender};
use super::wire::Text;

/// Events that wait for the daemon; beyond it the keeper holds them back.
const EVENTS: usize = 256;

/// One command for a keeper: an attempt, or a runner.
#[derive(Debug)]
pub struct Unit {
    /// By which events name it; the daemon's choice.
    pub id: u64,
    /// Program and arguments. A program without a slash is looked up in the unit's own `PATH`.
    pub argv: Vec<OsString>,
    /// Changes to the base environment; `None` takes a variable away.
    pub env: Vec<(OsString, Option<OsString>)>,
    /// Its folder, relative to the base's.
    pub cwd: Option<PathBuf>,
    /// When it is ended (TERM, grace, KILL) for [`super::Reason::Timeout`].
    pub timeout: Option<Duration>,
    /// From TERM to KILL.
    pub grace: Duration,
    /// How many of its first bytes of output are kept.
    pub head: usize,
    /// How many of its last bytes of output are kept.
    pub tail: usize,
    /// Whether its output is sent while it runs, too.
    pub live: bool,
    /// Where all of its output goes if it is more than `head`: see [`super::whole::path`].
    pub whole: Option<PathBuf>,
    /// Descriptors for it, with the numbers they get there; 0, 1 and 2 take the place of `/dev/null` and
    /// the pipes.
    pub fds: Vec<(OwnedFd, RawFd)>,
}

impl Unit {
    /// A unit without limits that keeps the first and the last 64 KiB of its output.
    pub fn new<A: Into<OsString>>(id: u64, argv: impl IntoIterator<Item = A>) -> Self {
        Self {
            id,
            argv: argv.into_iter().map(Into::into).collect(),
            env: Vec::new(),
            cwd: None,
            timeout: None,
            grace: Duration::from_secs(5),
            head: 64 << 10,
            tail: 64 << 10,
            live: false,
            whole: None,
            fds: Vec::new(),
        }
    }

    /// Sets a variable.
    #[must_use]
    pub fn env(mut self, key: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.env.push((key.into(), Some(value.into())));
        self
    }

    pub(super) fn into_run(self) -> (Run, Vec<OwnedFd>) {
        let (fds, pass_fds) = self.fds.into_iter().unzip();
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let env = self.env.into_iter().map(|(key, value)| (key.into(), value.map(Into::into)));
        let spec = Spec {
            argv: self.argv.into_iter().map(Into::into).collect(),
            env: env.collect(),
            cwd: self.cwd.map(Into::into),
            pass_fds,
        };
        let run = Run {
            id: self.id,
            spec,
            timeout_ms: self.timeout.map(millis),
            grace_ms: millis(self.grace),
            head: self.head,
            tail: self.tail,
            live: self.live,
            whole: self.whole.map(Into::into),
        };
        (run, fds)
    }
}

/// What a keeper reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeeperEvent {
    /// A unit runs.
    Started {
        /// The unit.
        id: u64,
        /// Its main process, which leads its own session and process group.
        pid: i32,
    },
    /// Output of a unit that is `live`.
    Output {
        /// The unit.
        id: u64,
        /// Where it was written to; [`Stream::Dropped`] if there are no bytes, only a count.
        stream: Stream,
        /// Milliseconds since the unit's start at which the first of these bytes arrived.
        ms: u64,
        /// Bytes before these that were not sent, because the daemon did not keep up.
        dropped: u64,
        /// The bytes.
        bytes: Vec<u8>,
    },
    /// A unit ended, and everything it had started is dead.
    Exited(Exited),
    /// These units will not be started.
    Dropped {
        /// The units.
        ids: Vec<u64>,
        /// Because the deadline had passed, not because of [`KeeperSender::drop_units`].
        lease: bool,
    },
    /// The answer to [`KeeperSender::tail`].
    Tail {
        /// The unit.
        id: u64,
        /// What `bytes` is made of.
        pieces: Vec<Piece>,
        /// The last output so far; empty if the unit does not run.
        bytes: Vec<u8>,
    },
    /// The keeper ended, and everything beneath it is dead. The last event.
    Gone {
        /// The signal that ended it, if the warden saw one.
        signal: Option<i32>,
    },
}

/// Sends to a keeper, from anywhere. Every call is queued at once and fails only if the keeper is gone.
#[derive(Clone, Debug)]
pub struct KeeperSender(Sender);

impl KeeperSender {
    /// Sets environment and folder for the units sent from now on.
    pub fn base<K, V>(&self, env: impl IntoIterator<Item = (K, V)>, cwd: &Path) -> io::Result<()>
    where
        K: Into<OsString>,
        V: Into<OsString>,
    {
        let env = env.into_iter().map(|(key, value)| (Text(key.into()), Text(value.into())));
        self.0.send(&ToKeeper::Base { env: env.collect(), cwd: cwd.into() }, Vec::new())
    }

    /// Appends a unit to the keeper's queue.
    pub fn run(&self, unit: Unit) -> io::Result<()> {
        let (run, fds) = unit.into_run();
        self.0.send(&ToKeeper::Run(run), fds)
    }

    /// Ends a unit: TERM to its group, KILL to everything after its grace; or KILL at once. A unit that
    /// still waits is dropped.
    pub fn kill(&self, id: u64, now: bool) -> io::Result<()> {
        self.0.send(&ToKeeper::Kill { id, now }, Vec::new())
    }

    /// Takes units that have not started out of the queue; [`KeeperEvent::Dropped`] says which.
    pub fn drop_units(&self, ids: impl IntoIterator<Item = u64>) -> io::Result<()> {
        self.0.send(&ToKeeper::Drop { ids: ids.into_iter().collect() }, Vec::new())
    }

    /// Kills a process beneath the running unit, and everything beneath that (a pytest monitor).
    pub fn kill_tree(&self, pid: i32) -> io::Result<()> {
        self.0.send(&ToKeeper::KillTree { pid }, Vec::new())
    }

    /// Switches live output of a unit.
    pub fn live(&self, id: u64, on: bool) -> io::Result<()> {
        self.0.send(&ToKeeper::Live { id, on }, Vec::new())
    }

    /// Asks for the last output of a unit: [`KeeperEvent::Tail`].
    pub fn tail(&self, id: u64) -> io::Result<()> {
        self.0.send(&ToKeeper::Tail { id }, Vec::new())
    }
}

/// A running keeper. Dropping it kills everything beneath it.
#[derive(Debug)]
pub struct Keeper {
    index: usize,
    pid: i32,
    sender: KeeperSender,
    events: mpsc::Receiver<KeeperEvent>,
}

impl Keeper {
    pub(super) fn new(index: usize, pid: i32, socket: UnixStream, gone: oneshot::Receiver<Status>) -> io::Result<Self> {
        let (sender, receiver) = socket::open(socket)?;
        let (events_in, events) = mpsc::channel(EVENTS);
        tokio::spawn(listen(receiver, gone, events_in));
        Ok(Self { index, pid, sender: KeeperSender(sender), events })
    }

    /// Its place in the table of deadlines.
    pub fn index(&self) -> usize {
        self.index
    }

    /// Its process.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// A handle for sending only.
    pub fn sender(&self) -> KeeperSender {
        self.sender.clone()
    }

    /// The next event; none after [`KeeperEvent::Gone`]. Can be cancelled without losing one.
    pub async fn next_event(&mut self) -> Option<KeeperEvent> {
        self.events.recv().await
    }

    /// Kills everything beneath it and waits until that is done.
    pub async fn close(mut self) {
        self.sender.0.close();
        while self.events.recv().await.is_some() {}
    }
}

impl Deref for Keeper {
    type Target = KeeperSender;

    fn deref(&self) -> &KeeperSender {
        &self.sender
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.sender.0.close();
    }
}

async fn listen(mut receiver: Receiver, gone: oneshot::Receiver<Status>, events: mpsc::Sender<KeeperEvent>) {
    while let Ok(Some((message, blob))) = receiver.next::<FromKeeper>().await {
        let event = match message {
            FromKeeper::Started { id, pid } => KeeperEvent::Started { id, pid },
            FromKeeper::Output { id, stream, ms, dropped } => {
                KeeperEvent::Output { id, stream, ms, dropped, bytes: blob }
            }
            FromKeeper::Exited(exited) => KeeperEvent::Exited(Exited { output: blob, ..exited }),
            FromKeeper::Dropped { ids, lease } => KeeperEvent::Dropped { ids, lease },
            FromKeeper::Tail { id, pieces } => KeeperEvent::Tail { id, pieces, bytes: blob },
        };
        // Without a listener the rest is read all the same, so that the keeper can go on.
        let _ = events.send(event).await;
    }
    // The socket closes when the keeper ends; the warden tells when what fell to it is dead as well.
    let status = gone.await.unwrap_or_default();
    let _ = events.send(KeeperEvent::Gone { signal: status.signal }).await;
}
