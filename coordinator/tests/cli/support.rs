//! A folder of its own for each test, the program in it, and a private farm where one is needed.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

/// A folder with the program's state, temporary files and work in it.
pub(crate) struct Ranch {
    dir: tempfile::TempDir,
    /// Who signs what it trusts.
    pub(crate) authority: Option<PathBuf>,
}

/// What a run left to see.
pub(crate) struct Seen {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Seen {
    fn new(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Self { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }

    /// Asserts the exit code, showing everything if it is another.
    pub(crate) fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "stdout:\n{}\nstderr:\n{}", self.out, self.err);
        self
    }

    /// Asserts that all of these are on the console.
    pub(crate) fn says(self, words: &[&str]) -> Self {
        for word in words {
            assert!(self.err.contains(word), "`{word}` is not in:\n{}", self.err);
        }
        self
    }
}

impl Ranch {
    pub(crate) fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("r").tempdir_in("/tmp").unwrap();
        for part in ["tmp", "work", "state"] {
            std::fs::create_dir(dir.path().join(part)).unwrap();
        }
        Self { dir, authority: None }
    }

    pub(crate) fn work(&self) -> PathBuf {
        self.dir.path().join("work")
    }

    /// What `XDG_STATE_HOME` is.
    pub(crate) fn state(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.work().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    /// The program with arguments, in the folder, without the caller's settings.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_remuda"));
        command.args(args).current_dir(self.work()).stdin(Stdio::null());
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("REMUDA_")) {
            command.env_remove(name);
        }
        let at = |part: &str| self.dir.path().join(part);
        command
            .env("TMPDIR", at("tmp"))
            .env("XDG_STATE_HOME", at("state"))
            .env("HOME", self.dir.path())
            .env_remove("XDG_CONFIG_HOME")
            .envs(self.authority.as_ref().map(|file| ("SSL_CERT_FILE", file)));
        command
    }

    pub(crate) fn run(&self, args: &[&str]) -> Seen {
        Seen::new(self.command(args).output().unwrap())
    }

    pub(crate) fn run_with_input(&self, args: &[&str], input: &[u8]) -> Seen {
        let mut child =
            self.command(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let input = input.to_vec();
        let writer = std::thread::spawn(move || drop(stdin.write_all(&input)));
        let seen = Seen::new(child.wait_with_output().unwrap());
        writer.join().unwrap();
        seen
    }

    /// Starts a run whose facts can be waited for.
    pub(crate) fn start(&self, args: &[&str]) -> Live {
        let console = std::fs::File::create(self.work().join("console")).unwrap();
        let mut child =
            self.command(args).env("REMUDA_EVENTS", "-").stdout(Stdio::piped()).stderr(console).spawn().unwrap();
        let facts = BufReader::new(child.stdout.take().unwrap());
        Live { child, facts }
    }

    /// What the last started run shows on its console.
    pub(crate) fn console(&self) -> String {
        std::fs::read_to_string(self.work().join("console")).unwrap_or_default()
    }

    /// Nothing that a run made for its own use is left.
    pub(crate) fn is_clean(&self) {
        let left: Vec<_> = std::fs::read_dir(self.dir.path().join("tmp")).unwrap().map(|e| e.unwrap().path()).collect();
        assert!(left.is_empty(), "{left:?}");
    }
}

/// A run that goes on.
pub(crate) struct Live {
    child: Child,
    facts: BufReader<std::process::ChildStdout>,
}

impl Live {
    /// The next fact of a kind.
    pub(crate) fn wait_for(&mut self, event: &str) -> Value {
        loop {
            let mut line = String::new();
            assert!(self.facts.read_line(&mut line).unwrap() > 0, "the run ended without `{event}`");
            let fact: Value = serde_json::from_str(&line).unwrap();
            if fact["event"] == event {
                return fact;
            }
        }
    }

    pub(crate) fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).unwrap()
    }

    /// Whether it has not ended.
    pub(crate) fn runs(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.pid()), signal).unwrap();
    }

    /// How it ended, if it does so in time.
    pub(crate) fn ends_within(&mut self, limit: Duration) -> Option<ExitStatus> {
        let start = Instant::now();
        loop {
            let left = limit.saturating_sub(start.elapsed());
            let wait = PollTimeout::try_from(left).unwrap_or(PollTimeout::NONE);
            let more = self.facts.buffer().len();
            self.facts.consume(more);
            let mut pipe = [PollFd::new(self.facts.get_ref().as_fd(), PollFlags::POLLIN)];
            if poll(&mut pipe, wait).unwrap() == 0 {
                return None;
            }
            // its standard output closes with it: what its tasks print goes elsewhere
            if self.facts.fill_buf().unwrap().is_empty() {
                return Some(self.child.wait().unwrap());
            }
        }
    }

    pub(crate) fn end(mut self) -> ExitStatus {
        std::io::copy(&mut self.facts, &mut std::io::sink()).unwrap();
        self.child.wait().unwrap()
    }
}

/// Facts that `--events FILE` wrote.
pub(crate) fn facts(path: &Path) -> Vec<Value> {
    std::fs::read_to_string(path).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Those of a kind.
pub(crate) fn of<'a>(facts: &'a [Value], event: &str) -> Vec<&'a Value> {
    facts.iter().filter(|fact| fact["event"] == event).collect()
}

/// A Redis on TCP, killed at the end.
pub(crate) struct Farm {
    child: Child,
    workers: Vec<Child>,
    pub(crate) port: u16,
    url: String,
    _dir: tempfile::TempDir,
}

impl Farm {
    pub(crate) fn start(more: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let port = free_port();
        let mut command = Command::new("redis-server");
        command
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--dir"])
            .arg(dir.path())
            .args(more);
        let child = command.stdout(Stdio::null()).spawn().unwrap();
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            std::thread::yield_now();
        }
        Self { child, workers: Vec::new(), port, url: format!("redis://127.0.0.1:{port}"), _dir: dir }
    }

    /// A server that also speaks TLS, with the certificate and the key in that folder; its address is that one.
    pub(crate) fn with_tls(folder: &Path) -> Self {
        let (port, file) = (free_port().to_string(), |name: &str| folder.join(name).display().to_string());
        let (cert, key) = (file("server.pem"), file("server.key"));
        let mut farm = Self::start(&[
            "--tls-port",
            &port,
            "--tls-cert-file",
            &cert,
            "--tls-key-file",
            &key,
            "--tls-ca-cert-file",
            &cert,
            "--tls-auth-clients",
            "no",
        ]);
        farm.url = format!("rediss://127.0.0.1:{port}");
        farm
    }

    /// A server on which one is a user with these rights; its address is that user's.
    pub(crate) fn with_user(rights: &[&str]) -> Self {
        let mut farm = Self::start(&[&["--user", "lab", "on", ">sekret"], rights].concat());
        farm.url = format!("redis://lab:sekret@127.0.0.1:{}", farm.port);
        farm
    }

    pub(crate) fn url(&self) -> String {
        self.url.clone()
    }

    pub(crate) fn url_str(&self) -> &str {
        &self.url
    }

    /// Starts a worker on it, or one more, which ends with it.
    pub(crate) fn with_worker(mut self, ranch: &Ranch, args: &[&str]) -> Self {
        let mut all = vec!["worker", "--redis"];
        let url = self.url();
        all.push(&url);
        all.extend(args);
        let state = tempfile::tempdir_in(ranch.work()).unwrap().keep();
        self.workers.push(ranch.command(&all).env("REMUDA_WORKER_STATE", state).stderr(Stdio::null()).spawn().unwrap());
        self
    }

    /// Kills its worker as a power cut does.
    pub(crate) fn kill_worker(&self) {
        let pid = self.workers.first().expect("the farm was given a worker").id();
        kill(Pid::from_raw(i32::try_from(pid).unwrap()), Signal::SIGKILL).unwrap();
    }
}

impl Drop for Farm {
    fn drop(&mut self) {
        for child in self.workers.iter_mut().chain([&mut self.child]) {
            let pid = Pid::from_raw(i32::try_from(child.id()).unwrap());
            let _ = kill(pid, Signal::SIGTERM);
            if std::thread::panicking() {
                let _ = kill(pid, Signal::SIGTERM); // a worker does not wait for what a failed test left running
            }
            let _ = child.wait();
        }
    }
}

pub(crate) fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
}
