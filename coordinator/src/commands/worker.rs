//! `remuda worker`: the worker daemon under this program's name. The only file that knows the worker crate.

use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::process::ExitCode;
use std::time::Duration;

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
}

const SERVER: u64 = 1;
const WORKER: u64 = 2;

impl Children {
    /// Starts the warden.
    ///
    /// # Errors
    /// It does not start.
    pub async fn start() -> io::Result<Self> {
        Ok(Self { warden: Warden::start(Options { capacity: 1, ..Options::default() }).await?, worker: None })
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
        self.worker = Some(keeper);
        Ok(())
    }

    /// Waits until the server ends; says how. Can be dropped.
    pub async fn server_died(&self) -> String {
        match self.warden.next_event().await {
            Some(WardenEvent::ServiceExited { code, signal, .. }) => ended(code, signal),
            None => "its warden ended".to_owned(),
        }
    }

    /// Waits until one of them ends; says which and how. Can be dropped.
    pub async fn died(&mut self) -> (&'static str, String) {
        let Self { warden, worker } = self;
        tokio::select! {
            event = warden.next_event() => match event {
                Some(WardenEvent::ServiceExited { code, signal, .. }) => ("redis-server", ended(code, signal)),
                None => ("warden", "it was killed".to_owned()),
            },
            how = worker_ended(worker.as_mut()) => ("worker", how),
        }
    }

    /// Asks the worker to end, or kills it with everything beneath it, and waits until it has ended.
    pub async fn end_worker(&mut self, at_once: bool) {
        if let Some(keeper) = &self.worker {
            let _ = keeper.kill(WORKER, at_once);
            worker_ended(self.worker.as_mut()).await;
        }
        if let Some(keeper) = self.worker.take() {
            keeper.close().await;
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

async fn worker_ended(worker: Option<&mut Keeper>) -> String {
    let Some(worker) = worker else { return std::future::pending().await };
    loop {
        match worker.next_event().await {
            Some(KeeperEvent::Exited(exited)) => {
                return exited.error.unwrap_or_else(|| ended(exited.code, exited.signal));
            }
            Some(KeeperEvent::Gone { .. }) | None => return "its keeper was killed".to_owned(),
            Some(_) => {}
        }
    }
}

fn ended(code: Option<i32>, signal: Option<i32>) -> String {
    match (code, signal) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "nobody knows how".to_owned(),
    }
}
