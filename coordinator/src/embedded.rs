//! The embedded farm: a private Redis and one worker as children of this program, in a folder of their own, reached
//! over a unix socket. They must all be gone when this program is.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use nix::fcntl::OFlag;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::net::unix::pipe::Receiver;
use tokio::task::JoinHandle;

use crate::commands::worker::{Children, Death, Ended};
use crate::error::Error;
use crate::follow::signals::{Signal, Signals};
use crate::report::log::LogFile;

/// The variable that names a server.
const SERVER_VARIABLE: &str = "REMUDA_REDIS_SERVER";
/// Names of servers that will do.
const SERVERS: [&str; 2] = ["redis-server", "valkey-server"];
/// Where packages keep theirs, seen from the folder of this program.
const PACKAGED: &str = "../lib/remuda";
/// How long the server may take to listen.
const START: Duration = Duration::from_secs(10);
/// How long children may take to end when asked.
const STOP: Duration = Duration::from_secs(5);
/// A unix socket's path has 108 bytes.
const LONGEST_FOLDER: usize = 80;
/// Folder for whole outputs of commands.
const OUTPUTS: &str = "outputs";
/// Lines of a child's log that an error shows.
const TAIL: usize = 10;
/// How long the last words of a child that has ended may be under way.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// Workers that may take the place of one that died before another task has ended: a test that kills its worker has
/// ended `lost` by then.
const MOST_WORKERS: u32 = 5;

/// The children. They hang on a warden of their own, which ends them when this program ends in any way.
pub struct Embedded {
    folder: tempfile::TempDir,
    children: Children,
    server: Words,
    worker: Words,
    work: Option<Work>,
    replaced: u32,
    /// Tasks that had ended when a worker was replaced.
    done: u32,
    log: LogFile,
}

/// What a child prints: the last of it, and whoever reads it.
#[derive(Default)]
struct Words {
    tail: Arc<Mutex<VecDeque<String>>>,
    reader: Option<JoinHandle<()>>,
}

/// What a worker is started with.
#[derive(Clone, Debug)]
struct Work {
    farm: String,
    slots: u32,
    drain: Duration,
}

/// Finds a server to start.
///
/// # Errors
/// There is none, with what was tried.
pub fn find_server(look: &dyn Fn(&str) -> Option<String>, beside: Option<&Path>) -> Result<PathBuf, Error> {
    if let Some(named) = look(SERVER_VARIABLE).filter(|n| !n.is_empty()) {
        let path = PathBuf::from(&named);
        return if is_program(&path) {
            Ok(path)
        } else {
            Err(Error::NoServer { tried: format!("{SERVER_VARIABLE}={named}, which is no program") })
        };
    }
    let folders = beside
        .into_iter()
        .flat_map(|own| [own.to_path_buf(), own.join(PACKAGED)])
        .chain(look("PATH").iter().flat_map(std::env::split_paths).collect::<Vec<_>>());
    for folder in folders {
        for name in SERVERS {
            let path = folder.join(name);
            if is_program(&path) {
                return Ok(path);
            }
        }
    }
    Err(Error::NoServer {
        tried: format!(
            "{SERVER_VARIABLE} (not set), the folder of this program, {PACKAGED} beside it, and {} on PATH",
            SERVERS.join(" and ")
        ),
    })
}

fn is_program(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

fn private_folder() -> Result<tempfile::TempDir, Error> {
    let base = std::env::temp_dir();
    let base = if base.as_os_str().len() > LONGEST_FOLDER { PathBuf::from("/tmp") } else { base };
    let folder = tempfile::Builder::new()
        .prefix("remuda-")
        .permissions(std::fs::Permissions::from_mode(0o700))
        .tempdir_in(&base);
    folder.map_err(|e| Error::io(format!("make a folder in {}", base.display()), e))
}

impl Embedded {
    /// Starts the server and waits until it listens.
    ///
    /// # Errors
    /// There is none, or it does not start.
    pub async fn start(server: &Path, log: LogFile) -> Result<Self, Error> {
        let folder = private_folder()?;
        let outputs = folder.path().join(OUTPUTS);
        std::fs::create_dir(&outputs).map_err(|e| Error::io(format!("make the folder {}", outputs.display()), e))?;
        let children = Children::start().await.map_err(|e| Error::io("start the warden of the embedded farm", e))?;
        let (server_says, output) = listened(&log, "embedded/redis")?;
        let mut embedded = Self {
            folder,
            children,
            server: server_says,
            worker: Words::default(),
            work: None,
            replaced: 0,
            done: 0,
            log,
        };
        let words = server_words(server, embedded.folder.path());
        embedded
            .children
            .serve(words, output)
            .await
            .map_err(|e| Error::io(format!("start {}", server.display()), e))?;
        embedded.wait_for_server().await?;
        Ok(embedded)
    }

    async fn wait_for_server(&mut self) -> Result<(), Error> {
        let (began, socket) = (Instant::now(), self.socket());
        loop {
            if std::os::unix::net::UnixStream::connect(&socket).is_ok() {
                // what it says at its start is of no use to whoever reads of its end
                self.server.tail.lock().unwrap_or_else(PoisonError::into_inner).clear();
                return Ok(());
            }
            if let Ok(how) = tokio::time::timeout(Duration::from_millis(1), self.children.server_died()).await {
                return Err(self.no_start(format!("{how} at its start")).await);
            }
            if began.elapsed() > START {
                return Err(self.no_start(format!("did not listen within {} s", START.as_secs())).await);
            }
        }
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("redis.sock")
    }

    /// Where its worker puts what commands print, if that is wanted whole. It goes with everything else.
    #[must_use]
    pub fn outputs(&self) -> PathBuf {
        self.folder.path().join(OUTPUTS)
    }

    /// The server's address.
    #[must_use]
    pub fn url(&self) -> String {
        format!("unix://{}", self.socket().display())
    }

    async fn no_start(&mut self, problem: String) -> Error {
        Error::Embedded { what: "redis-server", problem, log: self.server.last().await }
    }

    /// Starts the worker.
    ///
    /// # Errors
    /// It cannot be started.
    pub async fn start_worker(&mut self, farm: &str, slots: u32, drain: Duration) -> Result<(), Error> {
        self.work = Some(Work { farm: farm.to_owned(), slots, drain });
        self.work().await
    }

    async fn work(&mut self) -> Result<(), Error> {
        let Some(Work { farm, slots, drain }) = self.work.clone() else { return Ok(()) };
        let program = std::env::current_exe().map_err(|e| Error::io("find this program", e))?;
        let mut words: Vec<OsString> = vec![program.into()];
        words.extend(
            ["worker", "--redis", &self.url(), "--farm", &farm, "--slots", &slots.to_string(), "--embedded"]
                .map(OsString::from),
        );
        words.extend([
            "--drain-timeout".into(),
            drain.as_secs().to_string().into(),
            "--scratch".into(),
            self.folder.path().into(),
            "--outputs".into(),
            self.outputs().into(),
        ]);
        let (says, output) = listened(&self.log, "embedded/worker")?;
        self.worker = says;
        self.children.work(words, output, drain + STOP).await.map_err(|e| Error::io("start the worker", e))
    }

    /// Waits until one of the children ends, which it should not. Can be dropped; what it returns must be given to
    /// [`Embedded::outlive`].
    pub async fn died(&mut self) -> Death {
        self.children.died().await
    }

    /// Goes on without a child that died, if that can be; says how. A worker is replaced: its successor gives back at
    /// once what it held. `done`: tasks that have ended; where some do, a run comes to its end whatever kills workers.
    ///
    /// # Errors
    /// It cannot be: without a server there is nothing, and a worker that dies again and again will not do.
    pub async fn outlive(&mut self, death: Death, done: u32) -> Result<String, Error> {
        let (what, how, words) = match death {
            Death::Server(how) => ("redis-server", how, &mut self.server),
            Death::Worker(how) => ("worker", how, &mut self.worker),
            Death::Warden => {
                return Err(Error::Died { what: "farm's warden", how: "was killed".to_owned(), log: String::new() });
            }
        };
        // whom somebody else kills has no last words that explain it
        let log = if matches!(how, Ended::Signal(_)) { String::new() } else { words.last().await };
        let how = how.to_string();
        if done > self.done {
            (self.replaced, self.done) = (0, done);
        }
        if what == "redis-server" || self.replaced >= MOST_WORKERS {
            let how = if what == "worker" { format!("{how}, as did {MOST_WORKERS} others in its place,") } else { how };
            return Err(Error::Died { what, how, log });
        }
        self.replaced += 1;
        match self.work().await {
            Ok(()) => Ok(format!("the worker {how}: another one takes over")),
            Err(error) => {
                tracing::warn!("a worker that {how} was not replaced: {error}");
                Err(Error::Died { what, how, log })
            }
        }
    }

    /// Asks the worker to end, then the server; kills what does not. `at_once`: does not ask.
    pub async fn stop(mut self, at_once: bool) {
        tokio::select! {
            () = self.children.end_worker(at_once) => {}
            () = hurried() => {}
        }
        self.children.end_worker(true).await; // nothing, unless somebody is in a hurry
        self.children.end().await;
    }
}

/// The server's command line. A shell stands around it to remove the folder when everything is over: after the death of
/// this program nobody else is left to do it. It kills the server, which has nothing to save, and would look for its
/// shutdown only ten times a second.
fn server_words(server: &Path, at: &Path) -> Vec<OsString> {
    const GUARD: &str = r#"folder=$1; shift; trap 'kill -9 $! 2>/dev/null' TERM; "$@" & wait $!; how=$?; wait; rm -rf "$folder"; exit $how"#;
    let mut words: Vec<OsString> =
        vec!["/bin/sh".into(), "-c".into(), GUARD.into(), "remuda-embedded-redis".into(), at.into(), server.into()];
    words.extend(
        ["--port", "0", "--unixsocketperm", "700", "--save", "", "--appendonly", "no", "--daemonize", "no"]
            .map(OsString::from),
    );
    words.extend(["--maxmemory-policy", "noeviction", "--loglevel", "warning", "--unixsocket"].map(OsString::from));
    words.extend([at.join("redis.sock").into(), "--dir".into(), at.into()]);
    words
}

/// Waits for a signal to end.
async fn hurried() {
    match Signals::new() {
        Ok(mut signals) => while signals.next().await == Signal::Status {},
        Err(_) => std::future::pending().await,
    }
}

/// A pipe for a child whose lines go to the log.
fn listened(log: &LogFile, who: &'static str) -> Result<(Words, OwnedFd), Error> {
    let pipe = || -> std::io::Result<(Receiver, OwnedFd)> {
        let (read, write) = nix::unistd::pipe2(OFlag::O_CLOEXEC)?;
        Ok((Receiver::from_owned_fd(nonblocking(read)?)?, write))
    };
    let (read, write) = pipe().map_err(|e| Error::io("make a pipe", e))?;
    let mut words = Words::default();
    words.reader = Some(listen(read, who, log, &words.tail));
    Ok((words, write))
}

impl Words {
    /// The last lines of a child that has ended.
    async fn last(&mut self) -> String {
        if let Some(reader) = self.reader.take() {
            let _ = tokio::time::timeout(LAST_WORDS, reader).await;
        }
        let tail = self.tail.lock().unwrap_or_else(PoisonError::into_inner);
        tail.iter().cloned().collect::<Vec<_>>().join("\n")
    }
}

fn nonblocking(fd: OwnedFd) -> std::io::Result<OwnedFd> {
    nix::fcntl::fcntl(&fd, nix::fcntl::FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    Ok(fd)
}

/// Copies a child's lines into the log, and remembers the last of them.
fn listen(stream: Receiver, who: &'static str, log: &LogFile, tail: &Arc<Mutex<VecDeque<String>>>) -> JoinHandle<()> {
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
    })
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
        let packaged = program("usr/lib/remuda/redis-server");
        std::fs::create_dir(dir.path().join("usr/bin")).unwrap();
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
        let found = find_server(&only_path, Some(&dir.path().join("usr/bin"))).unwrap();
        assert_eq!(found.canonicalize().unwrap(), packaged.canonicalize().unwrap());
        assert_eq!(find_server(&only_path, None).unwrap(), valkey);
    }

    #[test]
    fn without_a_server_the_error_says_what_was_tried() {
        let error = find_server(&|_| None, None).unwrap_err();
        assert_eq!(
            error.to_string(),
            "no Redis server found to run tests with: tried REMUDA_REDIS_SERVER (not set), the folder of this program, ../lib/remuda beside it, and redis-server and valkey-server on PATH"
        );
        let error = find_server(&|name| (name == SERVER_VARIABLE).then(|| "/no/such".to_owned()), None).unwrap_err();
        assert!(error.to_string().ends_with("tried REMUDA_REDIS_SERVER=/no/such, which is no program"), "{error}");
    }
}
