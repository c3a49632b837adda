//! The embedded farm: a private Redis and one worker as children of this program, in a folder of their own, reached
//! over a unix socket. They must all be gone when this program is.

use std::collections::VecDeque;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader};
use tokio::process::{Child, Command};

use crate::error::Error;
use crate::report::log::LogFile;

/// The variable that names a server.
const SERVER_VARIABLE: &str = "REMUDA_REDIS_SERVER";
/// Names of servers that will do.
const SERVERS: [&str; 2] = ["redis-server", "valkey-server"];
/// How long the server may take to listen.
const START: Duration = Duration::from_secs(10);
/// How long children may take to end when asked.
const STOP: Duration = Duration::from_secs(5);
/// A unix socket's path has 108 bytes.
const LONGEST_FOLDER: usize = 80;
/// Lines of a child's log that an error shows.
const TAIL: usize = 10;

/// The children.
pub struct Embedded {
    folder: tempfile::TempDir,
    server: Child,
    worker: Option<Child>,
    tail: Tail,
    log: LogFile,
}

type Tail = Arc<Mutex<VecDeque<String>>>;

/// Finds a server to start.
///
/// # Errors
/// There is none, with what was tried.
pub fn find_server(look: &dyn Fn(&str) -> Option<String>, beside: Option<&Path>) -> Result<PathBuf, Error> {
    if let Some(named) = look(SERVER_VARIABLE).filter(|n| !n.is_empty()) {
        let path = PathBuf::from(&named);
        return if is_program(&path) { Ok(path) } else { Err(Error::NoServer { tried: format!("{SERVER_VARIABLE}={named}, which is no program") }) };
    }
    let folders = beside.map(Path::to_path_buf).into_iter().chain(look("PATH").iter().flat_map(std::env::split_paths).collect::<Vec<_>>());
    for folder in folders {
        for name in SERVERS {
            let path = folder.join(name);
            if is_program(&path) {
                return Ok(path);
            }
        }
    }
    Err(Error::NoServer { tried: format!("{SERVER_VARIABLE} (not set), the folder of this program, and {} on PATH", SERVERS.join(" and ")) })
}

fn is_program(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

fn private_folder() -> Result<tempfile::TempDir, Error> {
    let base = std::env::temp_dir();
    let base = if base.as_os_str().len() > LONGEST_FOLDER { PathBuf::from("/tmp") } else { base };
    let folder = tempfile::Builder::new().prefix("remuda-").permissions(std::fs::Permissions::from_mode(0o700)).tempdir_in(&base);
    folder.map_err(|e| Error::io(format!("make a folder in {}", base.display()), e))
}

impl Embedded {
    /// Starts the server and waits until it listens.
    ///
    /// # Errors
    /// There is none, or it does not start.
    pub async fn start(server: &Path, log: LogFile) -> Result<Self, Error> {
        let folder = private_folder()?;
        let at = folder.path();
        let mut command = Command::new(server);
        command.args(["--port", "0", "--unixsocketperm", "700", "--save", "", "--appendonly", "no", "--daemonize", "no"]);
        command.args(["--maxmemory-policy", "noeviction", "--loglevel", "warning", "--unixsocket"]).arg(at.join("redis.sock")).arg("--dir").arg(at);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0).kill_on_drop(true);
        let mut server = command.spawn().map_err(|e| Error::io(format!("start {}", server.display()), e))?;
        let tail = Tail::default();
        listen(server.stdout.take(), "embedded/redis", &log, &tail);
        listen(server.stderr.take(), "embedded/redis", &log, &tail);
        let mut embedded = Self { folder, server, worker: None, tail, log };
        embedded.wait_for_server().await?;
        Ok(embedded)
    }

    async fn wait_for_server(&mut self) -> Result<(), Error> {
        let (began, socket) = (Instant::now(), self.socket());
        loop {
            if std::os::unix::net::UnixStream::connect(&socket).is_ok() {
                return Ok(());
            }
            if let Ok(Some(status)) = self.server.try_wait() {
                return Err(self.failure("redis-server", format!("ended at once ({status})")).await);
            }
            if began.elapsed() > START {
                return Err(self.failure("redis-server", format!("did not listen within {} s", START.as_secs())).await);
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("redis.sock")
    }

    /// The server's address.
    #[must_use]
    pub fn url(&self) -> String {
        format!("unix://{}", self.socket().display())
    }

    /// Starts the worker.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start_worker(&mut self, farm: &str, slots: u32, drain: Duration) -> Result<(), Error> {
        let program = std::env::current_exe().map_err(|e| Error::io("find this program", e))?;
        let mut command = Command::new(program);
        command.args(["worker", "--redis", &self.url(), "--farm", farm, "--slots", &slots.to_string(), "--embedded"]);
        command.args(["--drain-timeout", &drain.as_secs().to_string()]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0).kill_on_drop(true);
        let mut worker = command.spawn().map_err(|e| Error::io("start the worker", e))?;
        listen(worker.stdout.take(), "embedded/worker", &self.log, &self.tail);
        listen(worker.stderr.take(), "embedded/worker", &self.log, &self.tail);
        self.worker = Some(worker);
        Ok(())
    }

    /// Waits until one of the children ends, which it should not. Can be dropped.
    pub async fn died(&mut self) -> Error {
        let (what, status) = tokio::select! {
            status = self.server.wait() => ("redis-server", status),
            status = ended(self.worker.as_mut()) => ("worker", status),
        };
        let how = status.map_or_else(|e| e.to_string(), |s| s.to_string());
        self.failure(what, format!("ended before the run did ({how})")).await
    }

    async fn failure(&self, what: &'static str, problem: String) -> Error {
        tokio::task::yield_now().await; // lines of its last words may still be under way
        let log = self.tail.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect::<Vec<_>>().join("\n");
        Error::Embedded { what, problem, log }
    }

    /// Asks the worker to end, then the server; kills what does not. `at_once`: the worker kills what it runs.
    pub async fn stop(mut self, at_once: bool) {
        if let Some(worker) = &mut self.worker {
            // to a worker a second signal of either kind says: do not wait for what runs
            if at_once {
                send(worker, Signal::SIGINT);
            }
            end(worker).await;
        }
        end(&mut self.server).await;
    }
}

async fn ended(child: Option<&mut Child>) -> std::io::Result<std::process::ExitStatus> {
    match child {
        Some(child) => child.wait().await,
        None => std::future::pending().await,
    }
}

fn send(child: &Child, signal: Signal) {
    if let Some(pid) = child.id().and_then(|pid| i32::try_from(pid).ok()) {
        let _ = kill(Pid::from_raw(pid), signal);
    }
}

async fn end(child: &mut Child) {
    send(child, Signal::SIGTERM);
    if tokio::time::timeout(STOP, child.wait()).await.is_err() {
        let _ = child.kill().await;
    }
}

/// Copies a child's lines into the log, and remembers the last of them.
fn listen(stream: Option<impl AsyncRead + Unpin + Send + 'static>, who: &'static str, log: &LogFile, tail: &Tail) {
    let Some(stream) = stream else { return };
    let (log, tail) = (log.clone(), tail.clone());
    tokio::spawn(async move {
        let mut lines = BufReader::new(stream).split(b'\n');
        while let Ok(Some(line)) = lines.next_segment().await {
            let line = String::from_utf8_lossy(&line).into_owned();
            let _ = log.lines(&format!("{:>9} {who}", "-"), &line);
            let mut tail = tail.lock().unwrap_or_else(PoisonError::into_inner);
            tail.push_back(line);
            if tail.len() > TAIL {
                tail.pop_front();
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_looked_for_in_the_order_of_the_design() {
        let dir = tempfile::tempdir().unwrap();
        let program = |name: &str| {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, "").unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
            path
        };
        let (own, valkey, beside) = (program("own"), program("bin/valkey-server"), program("here/redis-server"));
        let path = dir.path().join("bin").display().to_string();
        let named = own.display().to_string();
        let both = |name: &str| match name {
            "PATH" => Some(path.clone()),
            SERVER_VARIABLE => Some(named.clone()),
            _ => None,
        };
        let only_path = |name: &str| (name == "PATH").then(|| path.clone());
        assert_eq!(find_server(&both, None).unwrap(), own);
        assert_eq!(find_server(&only_path, beside.parent()).unwrap(), beside);
        assert_eq!(find_server(&only_path, None).unwrap(), valkey);
    }

    #[test]
    fn without_a_server_the_error_says_what_was_tried() {
        let error = find_server(&|_| None, None).unwrap_err();
        assert_eq!(
            error.to_string(),
            "no Redis server found to run tests with: tried REMUDA_REDIS_SERVER (not set), the folder of this program, and redis-server and valkey-server on PATH"
        );
        let error = find_server(&|name| (name == SERVER_VARIABLE).then(|| "/no/such".to_owned()), None).unwrap_err();
        assert!(error.to_string().ends_with("tried REMUDA_REDIS_SERVER=/no/such, which is no program"), "{error}");
    }

    #[tokio::test]
    async fn a_server_that_does_not_start_is_an_error_with_its_own_words() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("redis-server");
        std::fs::write(&path, "#!/bin/sh\necho cannot do this >&2\nsleep 0.1\nexit 7\n").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        let error = Embedded::start(&path, LogFile::new(Box::new(std::io::sink()))).await.err().unwrap();
        assert_eq!(error.to_string(), "the embedded redis-server ended at once (exit status: 7)\n    cannot do this");
        assert_eq!(error.exit().code(), 3);
    }
}
