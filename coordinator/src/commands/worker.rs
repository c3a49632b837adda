//! `remuda worker`: the worker daemon under this program's name. The only file that knows the worker crate.

use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::process::ExitCode;
use std::time::Duration;

use nix::sys::signal::Signal;
use remuda_worker::warden::{Keeper, KeeperEvent, Options, Unit, Warden, WardenEvent};

use crate::cli::{Global, Worker};

/// Becomes the warden of a worker or a bridge to an ABQ adapter, if this process was started as one. Must come before anything else.
pub fn run_if_warden() {
    remuda_worker::warden::run_if_warden();
    remuda_worker::abq::run_if_bridge();
    remuda_worker::frameworks::run_if_bridge();
}

/// Runs the daemon until it has drained.
#[must_use]
pub fn run(global: &Global, args: &Worker) -> ExitCode {
    let mut words = vec![OsString::from("remuda worker")];
    // `remuda --redis URL worker` means the same as `remuda worker --redis URL`
    for (flag, value) in [("--redis", &global.redis), ("--farm", &global.farm)] {
        if let Some(value) = value {
            words.extend([flag.into(), value.into()]);
        }
    }
    words.extend(args.args.iter().cloned());
    remuda_worker::main_with_args(words)
}

/// The embedded farm's processes, hung on a warden: whatever happens to this program, they end, the server last.
pub struct Children {
    warden: Warden,
    worker: Option<Keeper>,
    grace: Duration,
}

const SERVER: u64 = 1;
const WORKER: u64 = 2;

/// A child that ended, and how.
#[derive(Debug)]
pub enum Death {
    /// The server.
    Server(Ended),
    /// The worker.
    Worker(Ended),
    /// The warden: everything beneath it ends with it.
    Warden,
}

/// How a process ended.
#[derive(Debug)]
pub enum Ended {
    /// By itself.
    Code(i32),
    /// By a signal.
    Signal(i32),
    /// Otherwise, in words.
    Otherwise(String),
}

impl Ended {
    fn of(code: Option<i32>, signal: Option<i32>) -> Self {
        match (code, signal) {
            // a shell stands around the server, and tells a signal so
            (Some(code), _) if code > SHELL_SIGNAL => Self::Signal(code - SHELL_SIGNAL),
            (Some(code), _) => Self::Code(code),
            (None, Some(signal)) => Self::Signal(signal),
            (None, None) => Self::Otherwise("ended, nobody knows how".to_owned()),
        }
    }
}

impl std::fmt::Display for Ended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Code(code) => write!(f, "ended with exit code {code}"),
            Self::Signal(number) => match Signal::try_from(*number) {
                Ok(signal) => write!(f, "was killed ({signal})"),
                Err(_) => write!(f, "was killed (signal {number})"),
            },
            Self::Otherwise(text) => f.write_str(text),
        }
    }
}

/// What a shell adds to the number of a signal.
const SHELL_SIGNAL: i32 = 128;
/// The worker's keeper ends it within its grace; whoever waits longer waits for nothing.
const KEEPER: Duration = Duration::from_secs(5);

impl Children {
    /// Starts the warden.
    ///
    /// # Errors
    /// It does not start.
    pub async fn start() -> io::Result<Self> {
        let warden = Warden::start(Options { capacity: 1, ..Options::default() }).await?;
        Ok(Self { warden, worker: None, grace: Duration::ZERO })
    }

    /// Starts the server; `output` becomes its stdout and stderr.
    ///
    /// # Errors
    /// It does not start.
    pub async fn serve(&self, words: Vec<OsString>, output: OwnedFd) -> io::Result<()> {
        let mut unit = Unit::new(SERVER, words);
        unit.env = inherited().map(|(k, v)| (k, Some(v))).collect();
        unit.fds = vec![(output.try_clone()?, 1), (output, 2)];
        self.warden.service(unit).await.map(|_| ())
    }

    /// Starts the worker, which has `grace` to end when asked; `output` becomes its stdout and stderr.
    ///
    /// # Errors
    /// It does not start.
    pub async fn work(&mut self, words: Vec<OsString>, output: OwnedFd, grace: Duration) -> io::Result<()> {
        let keeper = self.warden.keeper(0).await?;
        keeper.base(inherited(), &std::env::current_dir()?)?;
        let mut unit = Unit::new(WORKER, words);
        unit.grace = grace;
        unit.fds = vec![(output.try_clone()?, 1), (output, 2)];
        keeper.run(unit)?;
        (self.worker, self.grace) = (Some(keeper), grace);
        Ok(())
    }

    /// Waits until the server ends; says how. Can be dropped.
    pub async fn server_died(&self) -> Ended {
        match self.warden.next_event().await {
            Some(WardenEvent::ServiceExited { code, signal, .. }) => Ended::of(code, signal),
            None => Ended::Otherwise("ended with its warden".to_owned()),
        }
    }

    /// Waits until one of them ends, and says so once. Can be dropped: whoever awaits anything between this and the use
    /// of what it returns may lose it.
    pub async fn died(&mut self) -> Death {
        let Self { warden, worker, .. } = self;
        tokio::select! {
            event = warden.next_event() => match event {
                Some(WardenEvent::ServiceExited { code, signal, .. }) => Death::Server(Ended::of(code, signal)),
                None => Death::Warden,
            },
            how = worker_ended(worker.as_mut()) => {
                *worker = None; // it says so only once: nobody may wait for it again
                Death::Worker(how)
            }
        }
    }

    /// Asks the worker to end, or kills it with everything beneath it, and waits until it has ended.
    pub async fn end_worker(&mut self, at_once: bool) {
        let Some(keeper) = &self.worker else { return };
        let _ = keeper.kill(WORKER, at_once);
        let _ = tokio::time::timeout(self.grace + KEEPER, worker_ended(self.worker.as_mut())).await;
        if let Some(keeper) = self.worker.take() {
            let _ = tokio::time::timeout(KEEPER, keeper.close()).await;
        }
    }

    /// Ends everything and waits until it is gone.
    pub async fn end(self) {
        self.warden.shutdown().await;
    }
}

fn inherited() -> impl Iterator<Item = (OsString, OsString)> {
    std::env::vars_os()
}

async fn worker_ended(worker: Option<&mut Keeper>) -> Ended {
    let Some(worker) = worker else { return std::future::pending().await };
    loop {
        match worker.next_event().await {
            Some(KeeperEvent::Exited(exited)) => {
                return exited.error.map_or_else(|| Ended::of(exited.code, exited.signal), Ended::Otherwise);
            }
            Some(KeeperEvent::Gone { .. }) | None => {
                return Ended::Otherwise("ended: its keeper was killed".to_owned());
            }
            Some(_) => {}
        }
    }
}
