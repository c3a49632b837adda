//! What the tests share: a warden from the real program, a witness, a helper that plays the daemon.

use std::fs::File;
use std::future::Future;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::stat::Mode;
use remuda_worker::warden::{Exited, Keeper, KeeperEvent, Options, Unit, Warden};
use tempfile::TempDir;

/// No test takes this long unless something hangs.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

/// Fails instead of hanging.
pub(crate) async fn within<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(LIMIT, future).await.expect("in time")
}

pub(crate) fn options() -> Options {
    Options { program: PathBuf::from(env!("CARGO_BIN_EXE_remuda-worker")), capacity: 8 }
}

/// A warden, and keeper 0 with the test's environment.
pub(crate) async fn warden() -> (Warden, Keeper) {
    let warden = within(Warden::start(options())).await.expect("a warden");
    let keeper = keeper(&warden, 0).await;
    (warden, keeper)
}

pub(crate) async fn keeper(warden: &Warden, index: usize) -> Keeper {
    let keeper = within(warden.keeper(index)).await.expect("a keeper");
    keeper.base(std::env::vars_os(), Path::new("/")).expect("base");
    keeper
}

pub(crate) fn sh(id: u64, script: &str) -> Unit {
    Unit::new(id, ["sh", "-c", script])
}

pub(crate) fn python(id: u64, script: &str) -> Unit {
    Unit::new(id, ["python3", "-c", script])
}

pub(crate) async fn next(keeper: &mut Keeper) -> KeeperEvent {
    within(keeper.next_event()).await.expect("an event")
}

/// The next end of a unit; other events are skipped.
pub(crate) async fn exited(keeper: &mut Keeper) -> Exited {
    loop {
        match next(keeper).await {
            KeeperEvent::Exited(exited) => return exited,
            KeeperEvent::Gone { .. } => panic!("the keeper is gone"),
            _ => {}
        }
    }
}

/// The number of the next unit that starts.
pub(crate) async fn started(keeper: &mut Keeper) -> i32 {
    loop {
        match next(keeper).await {
            KeeperEvent::Started { pid, .. } => return pid,
            KeeperEvent::Output { .. } => {}
            other => panic!("not started: {other:?}"),
        }
    }
}

/// The signal that ended the keeper.
pub(crate) async fn gone(keeper: &mut Keeper) -> Option<i32> {
    loop {
        if let KeeperEvent::Gone { signal } = next(keeper).await {
            return signal;
        }
    }
}

/// A FIFO that tells when its writers are ready, and when they are all dead.
pub(crate) struct Witness {
    pub(crate) dir: TempDir,
    pipe: File,
    seen: Vec<u8>,
}

impl Witness {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("witness");
        nix::unistd::mkfifo(&path, Mode::S_IRWXU).expect("a FIFO");
        nix::unistd::mkfifo(&dir.path().join("go"), Mode::S_IRWXU).expect("a FIFO");
        let pipe = File::options().read(true).custom_flags(nix::libc::O_NONBLOCK).open(&path).expect("the reading end");
        Self { dir, pipe, seen: Vec::new() }
    }

    /// A script whose processes hold descriptor 9, in the witness' folder.
    pub(crate) fn script(&self, body: &str) -> String {
        format!("cd {}; exec 9>witness; {body}", self.dir.path().display())
    }

    fn read(&mut self, limit: Duration) -> Option<usize> {
        let until = Instant::now() + limit;
        let mut buffer = [0; 4096];
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let timeout = PollTimeout::try_from(left.as_millis()).expect("a timeout");
            let mut fds = [PollFd::new(self.pipe.as_fd(), PollFlags::POLLIN)];
            if poll(&mut fds, timeout).expect("poll") == 0 {
                return None;
            }
            match self.pipe.read(&mut buffer) {
                Ok(count) => {
                    self.seen.extend_from_slice(&buffer[..count]);
                    return Some(count);
                }
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// Waits until the processes have written `count` lines.
    pub(crate) fn ready(&mut self, count: usize) {
        while self.seen.iter().filter(|byte| **byte == b'\n').count() < count {
            let read = self.read(LIMIT).expect("the processes get ready");
            assert!(read > 0, "the processes ended early: {}", String::from_utf8_lossy(&self.seen));
        }
    }

    /// What the processes have written.
    pub(crate) fn seen(&self) -> String {
        String::from_utf8_lossy(&self.seen).into_owned()
    }

    /// All processes are dead *now*.
    pub(crate) fn assert_dead(&mut self) {
        while self.read(Duration::ZERO).expect("nobody holds the witness") > 0 {}
    }

    /// Waits until all processes are dead.
    pub(crate) fn dead(&mut self) {
        while self.read(LIMIT).expect("they die in time") > 0 {}
    }
}

/// A process that plays the daemon, so that it can be killed and stopped.
pub(crate) struct Daemon {
    pub(crate) child: Child,
    lines: BufReader<std::process::ChildStdout>,
}

impl Daemon {
    /// Starts a daemon that runs `script` on keeper 0, with a deadline if `deadline_ms` is not 0, and
    /// moves the deadline for as long as it is not stopped.
    pub(crate) fn start(script: &str, deadline_ms: u64) -> Self {
        let mut child = Command::new(std::env::current_exe().expect("this program"))
            .args(["support::play_daemon", "--exact", "--nocapture", "--test-threads=1"])
            .env("REMUDA_TEST_SCRIPT", script)
            .env("REMUDA_TEST_DEADLINE", deadline_ms.to_string())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a helper");
        let lines = BufReader::new(child.stdout.take().expect("its output"));
        Self { child, lines }
    }

    /// The next line of the daemon that begins with `word`, without it.
    pub(crate) fn line(&mut self, word: &str) -> String {
        loop {
            let mut line = String::new();
            assert!(self.lines.read_line(&mut line).expect("a line") > 0, "no line {word:?}");
            // The test harness may have begun a line of its own.
            if let Some(at) = line.find(word) {
                return line[at + word.len()..].trim().to_owned();
            }
        }
    }

    pub(crate) fn signal(&self, signal: nix::sys::signal::Signal) {
        let pid = nix::unistd::Pid::from_raw(self.child.id().cast_signed());
        nix::sys::signal::kill(pid, signal).expect("a signal");
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Not a test: the body of the helper. Returns at once when it is run as a test.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn play_daemon() {
    let Ok(script) = std::env::var("REMUDA_TEST_SCRIPT") else {
        return;
    };
    let deadline: u64 = std::env::var("REMUDA_TEST_DEADLINE").expect("set").parse().expect("a number");
    let (warden, mut keeper) = warden().await;
    let say = |line: String| {
        let mut out = std::io::stdout().lock();
        writeln!(out, "\n{line}").and_then(|()| out.flush()).expect("stdout");
    };
    let deadlines = warden.deadlines();
    let beat = move || deadlines.set(0, remuda_worker::warden::boottime_now_ms() + deadline);
    if deadline > 0 {
        beat();
    }
    keeper.run(sh(1, &script)).expect("run");
    say(format!("warden {}", warden.pid()));
    loop {
        let event = tokio::time::timeout(Duration::from_millis(20), keeper.next_event()).await;
        if let Ok(Some(KeeperEvent::Exited(exited))) = event {
            say(format!("exited {:?} {:?}", exited.reason, exited.signal));
        }
        if deadline > 0 {
            beat();
        }
    }
}
