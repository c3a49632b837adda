//! The side of a bridge that is a loader to the daemon: tells the manifest, forks slots, buries them.

use std::collections::HashMap;
use std::ffi::CStr;
use std::os::fd::{AsFd, FromRawFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::prctl;
use nix::unistd::{ForkResult, Pid, fork, getpid, getppid};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use super::timeout;
use super::wire::Socket;
use crate::warden::signals::Signals;
use crate::warden::tree::{Children, children_of, kill_children, reap};

/// How long what is being killed may take for its end.
const END_LIMIT: Duration = Duration::from_secs(10);
/// Tests in one part of the manifest.
const PART: usize = 1_000;

/// A collection without a manifest.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) message: String,
    /// The framework's own exit code.
    pub(crate) exit: i32,
    pub(crate) output: String,
}

/// The daemon's end of a bridge, for a backend that must notice while it collects that nobody waits any more.
pub(crate) struct Link {
    pub(crate) control: Socket,
    pub(crate) signals: Signals,
}

/// What a forked process needs to become a slot.
pub(crate) struct Start {
    /// Runner socket, stdout, stderr.
    pub(crate) fds: Vec<OwnedFd>,
    /// Variables of the slot.
    pub(crate) env: Vec<(String, String)>,
    pub(crate) parent: Pid,
}

/// What a bridge leads to.
pub(crate) trait Backend: Sized {
    /// Name of its processes.
    const NAME: &'static CStr;
    /// `REMUDA_LOAD`.
    type Load: DeserializeOwned;

    fn new(load: Self::Load) -> Self;
    /// Finds the tests.
    fn collect(&mut self, link: &mut Link) -> Result<(), Failure>;
    /// Who speaks, for the first message.
    fn specification(&self) -> Value;
    /// The tests as in `manifest_part`.
    fn tests(&self) -> Vec<Value>;
    /// How many were left out, and what the suite asks of us.
    fn asks(&self) -> (usize, Value) {
        (0, json!({}))
    }
    /// What is told at the end.
    fn summary(&self) -> String;
    /// Goes on as a slot; returns the process's exit code.
    fn slot(self, start: Start) -> i32;
}

/// What a process of this program goes on as.
enum Role {
    End(i32),
    Slot(Start),
}

struct Loader<B> {
    backend: B,
    link: Link,
    /// Slot number by process.
    slots: HashMap<Pid, u64>,
}

/// Runs a bridge; returns its exit code.
pub(crate) fn main<B: Backend>() -> i32 {
    let _ = prctl::set_name(B::NAME);
    let loader = match Loader::<B>::new() {
        Ok(loader) => loader,
        Err(error) => {
            eprintln!("remuda: the bridge {} could not start: {error}", B::NAME.to_string_lossy());
            return 3;
        }
    };
    loader.run()
}

impl<B: Backend> Loader<B> {
    fn new() -> Result<Self, String> {
        let number: i32 = std::env::var("REMUDA_RUNNER_FD")
            .ok()
            .and_then(|n| n.parse().ok())
            .ok_or("REMUDA_RUNNER_FD names no descriptor")?;
        // SAFETY: the daemon has passed this descriptor for the bridge, and nothing here has used it yet.
        let fd = unsafe { OwnedFd::from_raw_fd(number) };
        fcntl(&fd, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).map_err(|e| e.to_string())?;
        let load = serde_json::from_str(&std::env::var("REMUDA_LOAD").map_err(|e| e.to_string())?)
            .map_err(|e| format!("REMUDA_LOAD: {e}"))?;
        let signals = Signals::take(getppid()).map_err(|e| e.to_string())?;
        prctl::set_child_subreaper(true).map_err(|e| e.to_string())?;
        let link = Link { control: Socket::new(fd), signals };
        Ok(Self { backend: B::new(load), link, slots: HashMap::new() })
    }

    fn run(mut self) -> i32 {
        let collected = self.backend.collect(&mut self.link);
        let hello = json!({
            "type": "abq_native_runner_spawned", "remuda": 1, "pid": std::process::id(),
            "runner_specification": self.backend.specification(),
            "protocol_version": {"type": "abq_protocol_version", "major": 0, "minor": 2},
        });
        self.tell(&hello);
        let role = match collected {
            Ok(()) => {
                self.tell_manifest();
                self.serve()
            }
            Err(failure) => {
                self.tell(&json!({"type": "manifest_failure", "error": {"message": failure.message}, "exit": failure.exit, "output": failure.output}));
                self.wait_to_be_ended();
                Role::End(1)
            }
        };
        match role {
            Role::End(code) => {
                self.kill_strays(true);
                code
            }
            Role::Slot(start) => {
                let Self { backend, link, .. } = self;
                drop(link);
                backend.slot(start)
            }
        }
    }

    /// A daemon that is gone is noticed by the next read.
    fn tell(&self, message: &Value) {
        let _ = self.link.control.send(message);
    }

    /// The daemon ends a loader that has failed once it has heard why; an end that comes first would be all it knows.
    fn wait_to_be_ended(&mut self) {
        let until = Instant::now() + END_LIMIT;
        while self.link.control.open && !self.link.signals.read().stop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            let fds = [self.link.control.as_fd(), self.link.signals.as_fd()];
            let _ = poll(&mut fds.map(|fd| PollFd::new(fd, PollFlags::POLLIN)), timeout(left));
            self.link.control.fill();
        }
    }

    fn tell_manifest(&self) {
        let tests = self.backend.tests();
        for part in tests.chunks(PART) {
            self.tell(&json!({"type": "manifest_part", "tests": part}));
        }
        let (deselected, options) = self.backend.asks();
        self.tell(&json!({"type": "manifest_done", "count": tests.len(), "deselected": deselected, "fork": true, "why": null, "options": options}));
    }

    /// Serves the daemon until it is gone or wants no more; in a forked process, until that knows what it is.
    fn serve(&mut self) -> Role {
        loop {
            let mut fds =
                [self.link.control.as_fd(), self.link.signals.as_fd()].map(|fd| PollFd::new(fd, PollFlags::POLLIN));
            let _ = poll(&mut fds, PollTimeout::NONE);
            if self.link.signals.read().stop {
                return Role::End(1);
            }
            self.reap();
            self.link.control.fill();
            loop {
                match self.link.control.next() {
                    Ok(Some(message)) => {
                        if let Some(role) = self.obey(&message) {
                            return role;
                        }
                    }
                    Ok(None) if self.link.control.open => break,
                    _ => return Role::End(1),
                }
            }
        }
    }

    fn obey(&mut self, message: &Value) -> Option<Role> {
        match message.get("type").and_then(Value::as_str) {
            Some("fork") => self.fork(message),
            Some("finish") => {
                self.kill_strays(true);
                self.reap();
                self.tell(&json!({"type": "finished", "summary": self.backend.summary(), "exit": 0}));
                Some(Role::End(0))
            }
            _ => None,
        }
    }

    fn fork(&mut self, message: &Value) -> Option<Role> {
        let slot = message.get("slot").and_then(Value::as_u64)?;
        let fds = self.link.control.take_fds(3)?;
        let text = |(name, value): (&String, &Value)| Some((name.clone(), value.as_str()?.to_owned()));
        let env =
            message.get("env").and_then(Value::as_object).unwrap_or(&Map::new()).iter().filter_map(text).collect();
        let parent = getpid();
        // SAFETY: this process has one thread, so the child may do anything.
        match unsafe { fork() } {
            Ok(ForkResult::Child) => Some(Role::Slot(Start { fds, env, parent })),
            Ok(ForkResult::Parent { child }) => {
                self.slots.insert(child, slot);
                self.tell(&json!({"type": "forked", "slot": slot, "pid": child.as_raw(), "runner": child.as_raw()}));
                None
            }
            // the daemon blames the first test, as with a runner that could not live
            Err(_) => {
                self.tell(&json!({"type": "forked", "slot": slot, "pid": 0, "runner": 0}));
                self.tell(&json!({"type": "exited", "slot": slot, "pid": 0, "runner": 0, "status": 1 << 8}));
                None
            }
        }
    }

    /// Buries slots; what a killed one left has come here, and is killed before that is told.
    fn reap(&mut self) {
        let mut ended = Vec::new();
        self.reap_into(&mut ended);
        if ended.is_empty() {
            return;
        }
        self.kill_strays(false);
        self.tell_ended(ended);
    }

    fn tell_ended(&self, ended: Vec<(Pid, u64, i32)>) {
        for (pid, slot, status) in ended {
            self.tell(
                &json!({"type": "exited", "slot": slot, "pid": pid.as_raw(), "runner": pid.as_raw(), "status": status}),
            );
        }
    }

    fn reap_into(&mut self, ended: &mut Vec<(Pid, u64, i32)>) -> Children {
        reap(false, |one| {
            if let Some(slot) = self.slots.remove(&one.pid) {
                ended.push((one.pid, slot, one.status));
            }
        })
    }

    /// Kills what is beneath this process and no slot, or all, and waits until it is gone.
    fn kill_strays(&mut self, all: bool) {
        let until = Instant::now() + END_LIMIT;
        let mut ended = Vec::new();
        loop {
            let spared = |pid: Pid| !all && self.slots.contains_key(&pid);
            kill_children(spared);
            if children_of(getpid()).into_iter().all(spared) || Instant::now() >= until {
                break;
            }
            let _ = poll(
                &mut [PollFd::new(self.link.signals.as_fd(), PollFlags::POLLIN)],
                timeout(Duration::from_millis(10)),
            );
            let _ = self.link.signals.read();
            self.reap_into(&mut ended);
        }
        self.tell_ended(ended);
    }
}
