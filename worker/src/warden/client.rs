//! The daemon's view of its warden: start it, get keepers and services from it, end it.
//!
//! Handles only; what happens beneath a keeper comes from the keeper itself (`handle.rs`). Must be used
//! within a tokio runtime. Dropping a [`Warden`] ends everything without waiting for it.

use std::collections::HashMap;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use tokio::sync::{mpsc, oneshot, watch};

use super::deadlines::Deadlines;
use super::handle::{Keeper, Unit};
use super::messages::{FromWarden, Status, ToWarden};
use super::socket::{self, Receiver, Sender};

/// A program that has not said that it is a warden after this time is none.
const READY_LIMIT: Duration = Duration::from_secs(20);

/// The warden's own limits end before this.
const SHUTDOWN_LIMIT: Duration = Duration::from_secs(20);

/// How to start a warden.
#[derive(Clone, Debug)]
pub struct Options {
    /// The program to re-execute; its `main` must begin with [`super::run_if_warden`].
    pub program: PathBuf,
    /// How many keepers can have a deadline: indices below this.
    pub capacity: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { program: PathBuf::from("/proc/self/exe"), capacity: 1024 }
    }
}

/// A service that runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Service {
    /// The id of its unit.
    pub id: u64,
    /// Its process.
    pub pid: i32,
}

/// What a warden reports by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WardenEvent {
    /// A service ended, and so did everything it had started.
    ServiceExited {
        /// The id of its unit.
        id: u64,
        /// Its exit code, if it exited.
        code: Option<i32>,
        /// The signal that ended it, if one did.
        signal: Option<i32>,
    },
}

type Answer = oneshot::Sender<io::Result<i32>>;

/// Who waits for which answer.
#[derive(Debug, Default)]
struct Waiting {
    keepers: HashMap<u64, Answer>,
    services: HashMap<u64, Answer>,
    gone: HashMap<u64, oneshot::Sender<Status>>,
    /// There will be no more answers.
    closed: bool,
}

type Shared = Arc<Mutex<Waiting>>;

/// A running warden.
#[derive(Debug)]
pub struct Warden {
    pid: Pid,
    sender: Sender,
    deadlines: Deadlines,
    waiting: Shared,
    serial: AtomicU64,
    events: tokio::sync::Mutex<mpsc::UnboundedReceiver<WardenEvent>>,
    ended: watch::Receiver<bool>,
}

impl Warden {
    /// Starts a warden and waits until it is ready.
    pub async fn start(options: Options) -> io::Result<Self> {
        let (deadlines, table) = Deadlines::create(options.capacity)?;
        let (ours, theirs) = UnixStream::pair()?;
        // No variable is inherited: units get an environment from `base`, and nobody else needs one.
        let child = Command::new(&options.program)
            .arg0(super::ARGV0)
            .env_clear()
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::from(table))
            .stderr(Stdio::null())
            .spawn()?;
        let pid = Pid::from_raw(child.id().cast_signed());
        let ended = watch_process(pid)?;
        let (sender, mut receiver) = socket::open(ours)?;
        let first = tokio::time::timeout(READY_LIMIT, receiver.next::<FromWarden>()).await;
        if !matches!(first, Ok(Ok(Some((FromWarden::Ready, _))))) {
            let _ = kill(pid, Signal::SIGKILL);
            let message = format!("{:?} did not become a warden", options.program);
            return Err(io::Error::other(message));
        }
        let waiting = Shared::default();
        let (events_in, events) = mpsc::unbounded_channel();
        tokio::spawn(listen(receiver, Arc::clone(&waiting), events_in));
        let (serial, events) = (AtomicU64::new(0), tokio::sync::Mutex::new(events));
        Ok(Self { pid, sender, deadlines, waiting, serial, events, ended })
    }

    /// The warden's process.
    pub fn pid(&self) -> i32 {
        self.pid.as_raw()
    }

    /// The table of deadlines.
    pub fn deadlines(&self) -> Deadlines {
        self.deadlines.clone()
    }

    /// A new keeper, whose deadline is number `index` of the table.
    pub async fn keeper(&self, index: usize) -> io::Result<Keeper> {
        if index >= self.deadlines.capacity() {
            let message = format!("keeper {index}: the table has {} places", self.deadlines.capacity());
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
        let serial = self.serial.fetch_add(1, Ordering::Relaxed);
        let (ours, theirs) = UnixStream::pair()?;
        let (gone_in, gone_out) = oneshot::channel();
        let (answer_in, answer) = oneshot::channel();
        self.expect(|waiting| {
            waiting.keepers.insert(serial, answer_in);
            waiting.gone.insert(serial, gone_in);
        })?;
        let message = ToWarden::Keeper { serial, index };
        self.sender.send(&message, vec![theirs.into()])?;
        let pid = self.answer(answer).await?;
        Keeper::new(index, pid, ours, gone_out)
    }

    /// Starts a service. It belongs to the warden, ends after all keepers, and services end in the
    /// reverse order of their start. Its environment is what the unit says and nothing else.
    pub async fn service(&self, unit: Unit) -> io::Result<Service> {
        let id = unit.id;
        let (run, fds) = unit.into_run();
        let (answer_in, answer) = oneshot::channel();
        self.expect(|waiting| {
            waiting.services.insert(id, answer_in);
        })?;
        self.sender.send(&ToWarden::Service { id, spec: run.spec }, fds)?;
        Ok(Service { id, pid: self.answer(answer).await? })
    }

    /// Registers who waits for an answer, unless there will be none.
    fn expect(&self, register: impl FnOnce(&mut Waiting)) -> io::Result<()> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.closed {
            return Err(gone());
        }
        register(&mut waiting);
        Ok(())
    }

    async fn answer(&self, answer: oneshot::Receiver<io::Result<i32>>) -> io::Result<i32> {
        answer.await.unwrap_or_else(|_| Err(gone()))
    }

    /// The next event; none when the warden is gone. Can be cancelled without losing one.
    pub async fn next_event(&self) -> Option<WardenEvent> {
        self.events.lock().await.recv().await
    }

    /// Waits until the warden's process has ended, for whatever reason. Its keepers end by themselves;
    /// each reports [`super::KeeperEvent::Gone`] when everything beneath it is dead.
    pub async fn ended(&self) {
        self.end().await;
    }

    /// Whether it has died, also when that has not been told yet: its keepers end with it, and may be heard first.
    pub fn is_dead(&self) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid)).unwrap_or_default();
        let state = stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
        *self.ended.borrow() || state.is_none_or(|state| matches!(state, 'Z' | 'X'))
    }

    /// The same for somebody who does not hold the warden.
    pub fn end(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut ended = self.ended.clone();
        async move {
            // An error means that the watching thread is gone, which ends with the process it watches.
            let _ = ended.wait_for(|ended| *ended).await;
        }
    }

    /// Kills everything beneath all keepers, then ends the services, and waits until all of it is gone.
    pub async fn shutdown(self) {
        self.sender.close();
        if tokio::time::timeout(SHUTDOWN_LIMIT, self.ended()).await.is_err() {
            let _ = kill(self.pid, Signal::SIGKILL);
            self.ended().await;
        }
    }
}

impl Drop for Warden {
    fn drop(&mut self) {
        self.sender.close();
    }
}

/// A thread that reaps the warden when it ends, and resumes it when somebody stopped it.
fn watch_process(pid: Pid) -> io::Result<watch::Receiver<bool>> {
    let (ended_in, ended) = watch::channel(false);
    let watch = move || {
        while let Ok(WaitStatus::Stopped(..)) = waitpid(pid, Some(WaitPidFlag::WUNTRACED)) {
            let _ = kill(pid, Signal::SIGCONT);
        }
        let _ = ended_in.send(true);
    };
    std::thread::Builder::new().name("warden-watch".to_owned()).stack_size(64 << 10).spawn(watch)?;
    Ok(ended)
}

async fn listen(mut receiver: Receiver, waiting: Shared, events: mpsc::UnboundedSender<WardenEvent>) {
    while let Ok(Some((message, _))) = receiver.next::<FromWarden>().await {
        let mut waiting = waiting.lock().unwrap_or_else(PoisonError::into_inner);
        // Nobody may be waiting any more: a dropped future, a dropped keeper.
        match message {
            FromWarden::Ready => {}
            FromWarden::KeeperStarted { serial, pid } => {
                let _ = waiting.keepers.remove(&serial).map(|answer| answer.send(Ok(pid)));
            }
            FromWarden::KeeperFailed { serial, error } => {
                waiting.gone.remove(&serial);
                let error = io::Error::other(format!("cannot start a keeper: {error}"));
                let _ = waiting.keepers.remove(&serial).map(|answer| answer.send(Err(error)));
            }
            FromWarden::KeeperGone { serial, status } => {
                let _ = waiting.gone.remove(&serial).map(|gone| gone.send(status));
            }
            FromWarden::ServiceStarted { id, pid } => {
                let _ = waiting.services.remove(&id).map(|answer| answer.send(Ok(pid)));
            }
            FromWarden::ServiceFailed { id, error } => {
                let _ = waiting.services.remove(&id).map(|answer| answer.send(Err(io::Error::other(error))));
            }
            FromWarden::ServiceExited { id, status } => {
                let Status { code, signal } = status;
                let _ = events.send(WardenEvent::ServiceExited { id, code, signal });
            }
        }
    }
    // Everybody who waits learns that there will be no answer.
    let mut waiting = waiting.lock().unwrap_or_else(PoisonError::into_inner);
    *waiting = Waiting { closed: true, ..Waiting::default() };
}

fn gone() -> io::Error {
    io::Error::new(io::ErrorKind::BrokenPipe, "the warden is gone")
}
