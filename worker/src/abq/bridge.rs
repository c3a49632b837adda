//! The side that is a loader to the daemon: collects with a native runner, tells the manifest, forks slots.

use std::collections::HashMap;
use std::os::fd::{AsFd, FromRawFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::prctl;
use nix::unistd::{ForkResult, Pid, fork, getpid, getppid};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::native::{Native, ended_how, timeout};
use super::protocol::{self, Manifest};
use super::slot;
use super::wire::Socket;
use crate::warden::signals::Signals;
use crate::warden::tree::{Children, children_of, kill_children, reap};

/// How long a command may take until it has connected: one that has not by then speaks no ABQ.
pub(super) const CONNECT_LIMIT: Duration = Duration::from_secs(60);
/// How long a runner may take for its end after its manifest.
const END_LIMIT: Duration = Duration::from_secs(10);
/// Tests in one part of the manifest.
const PART: usize = 1_000;
/// pytest's exit code for "no tests collected".
const NOTHING: i32 = 5;

/// `REMUDA_LOAD`.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Load {
    /// The command that starts the native runner.
    pub(super) argv: Vec<String>,
    /// The group's timeout, seconds.
    #[serde(default)]
    pub(super) timeout: Option<f64>,
    /// When a test without an answer is given up if the group has none.
    pub(super) answer_seconds: f64,
}

/// A collection without a manifest.
#[derive(Debug)]
struct Failure {
    message: String,
    exit: i32,
    output: String,
}

/// What a process of this program goes on as.
enum Role {
    End(i32),
    Slot(slot::Start),
}

struct Bridge {
    load: Load,
    control: Socket,
    signals: Signals,
    /// Slot number by process.
    slots: HashMap<Pid, u64>,
    manifest: Manifest,
}

/// Runs a bridge; returns its exit code.
pub(super) fn main() -> i32 {
    let _ = prctl::set_name(c"remuda-abq");
    let bridge = match Bridge::new() {
        Ok(bridge) => bridge,
        Err(error) => {
            eprintln!("remuda: the bridge to an ABQ adapter could not start: {error}");
            return 3;
        }
    };
    bridge.run()
}

impl Bridge {
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
        Ok(Self { load, control: Socket::new(fd), signals, slots: HashMap::new(), manifest: Manifest::default() })
    }

    fn run(mut self) -> i32 {
        let mut specification = json!({"type": "abq_native_runner_specification", "name": "remuda-abq", "version": env!("CARGO_PKG_VERSION")});
        let collected = self.collect(&mut specification);
        let hello = json!({
            "type": "abq_native_runner_spawned", "remuda": 1, "pid": std::process::id(), "runner_specification": specification,
            "protocol_version": {"type": "abq_protocol_version", "major": 0, "minor": 2},
        });
        self.tell(&hello);
        let role = match collected {
            Ok(manifest) => {
                self.manifest = manifest;
                self.tell_manifest();
                self.serve()
            }
            Err(failure) => {
                self.tell(&json!({"type": "manifest_failure", "error": {"message": failure.message}, "exit": failure.exit, "output": failure.output}));
                Role::End(1)
            }
        };
        match role {
            Role::End(code) => {
                self.kill_strays(true);
                code
            }
            Role::Slot(start) => {
                let (load, manifest) = (self.load, self.manifest);
                drop((self.control, self.signals));
                slot::run(start, &load, &manifest)
            }
        }
    }

    /// A daemon that is gone is noticed by the next read.
    fn tell(&self, message: &Value) {
        let _ = self.control.send(message);
    }

    /// Lets a native runner collect.
    fn collect(&mut self, specification: &mut Value) -> Result<Manifest, Failure> {
        let fail = |message: String| Failure { message, exit: 1, output: String::new() };
        let mut native = Native::start(&self.load.argv, &[], true, None).map_err(fail)?;
        let found = self.hear_manifest(&mut native, specification);
        if found.is_ok() {
            native.wait_for_end(&self.signals, END_LIMIT);
        }
        let status = native.status;
        native.kill(&self.signals);
        let exit = status.map_or(0, |s| if s & 0x7f == 0 { (s >> 8) & 0xff } else { 128 + (s & 0x7f) });
        let printed = native.output.text();
        let manifest = found.map_err(|(message, text)| {
            let output =
                [text, printed.clone()].into_iter().filter(|t| !t.trim().is_empty()).collect::<Vec<_>>().join("\n");
            Failure { message, exit: if exit == NOTHING { 1 } else { exit.max(1) }, output }
        })?;
        // pytest-abq tells no collection errors: the tests that they concern are just not there
        let incomplete = exit != 0 && !(exit == NOTHING && manifest.tests.is_empty());
        if incomplete {
            let (n, how) = (manifest.tests.len(), ended_how(status.unwrap_or(0)));
            let message = format!(
                "the ABQ adapter told {n} tests, then ended with an error ({how}): some could not be collected; collect without Remuda to see which"
            );
            let output = manifest.notes.iter().cloned().chain([printed]).collect::<Vec<_>>().join("\n");
            return Err(Failure { message, exit, output });
        }
        Ok(manifest)
    }

    /// The error: headline, and what the adapter said.
    fn hear_manifest(&mut self, native: &mut Native, specification: &mut Value) -> Result<Manifest, (String, String)> {
        let connect_by = Instant::now() + CONNECT_LIMIT;
        let plain = |message: String| (message, String::new());
        let mut greeted = false;
        loop {
            let left = connect_by.saturating_duration_since(Instant::now());
            let wait = if native.connected_once() { PollTimeout::NONE } else { timeout(left) };
            let mut fds: Vec<PollFd<'_>> = native
                .fds()
                .chain([self.signals.as_fd(), self.control.as_fd()])
                .map(|fd| PollFd::new(fd, PollFlags::POLLIN))
                .collect();
            let _ = poll(&mut fds, wait);
            self.control.fill();
            if self.signals.read().stop || !self.control.open {
                return Err(plain("the daemon is gone".to_owned()));
            }
            native.look_after();
            while let Some(message) = native.next().map_err(|what| plain(format!("the ABQ adapter {what}")))? {
                if greeted {
                    return protocol::manifest(message);
                }
                *specification =
                    protocol::greeting(&message).map_err(|what| plain(format!("the ABQ adapter {what}")))?;
                greeted = true;
            }
            if native.status.is_some() || native.hung_up() {
                native.wait_for_end(&self.signals, END_LIMIT);
                return Err(plain(no_manifest(native, &self.load.argv)));
            }
            if !native.connected_once() && left.is_zero() {
                return Err(plain(format!(
                    "`{}` did not connect to ABQ_SOCKET in {} s: is its ABQ adapter installed?",
                    self.load.argv.join(" "),
                    CONNECT_LIMIT.as_secs()
                )));
            }
        }
    }

    fn tell_manifest(&self) {
        for part in self.manifest.tests.chunks(PART) {
            let tests: Vec<Value> =
                part.iter().map(|t| json!({"id": t.id, "file": t.file, "scope": t.scope})).collect();
            self.tell(&json!({"type": "manifest_part", "tests": tests}));
        }
        self.tell(&json!({"type": "manifest_done", "count": self.manifest.tests.len(), "deselected": 0, "fork": true, "why": null, "options": {}}));
    }

    /// Serves the daemon until it is gone or wants no more; in a forked process, until that knows what it is.
    fn serve(&mut self) -> Role {
        loop {
            let mut fds = [self.control.as_fd(), self.signals.as_fd()].map(|fd| PollFd::new(fd, PollFlags::POLLIN));
            let _ = poll(&mut fds, PollTimeout::NONE);
            if self.signals.read().stop {
                return Role::End(1);
            }
            self.reap();
            self.control.fill();
            loop {
                match self.control.next() {
                    Ok(Some(message)) => {
                        if let Some(role) = self.obey(&message) {
                            return role;
                        }
                    }
                    Ok(None) if self.control.open => break,
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
                let notes = &self.manifest.notes;
                let summary = if notes.is_empty() {
                    String::new()
                } else {
                    format!("While collecting, the ABQ adapter also said:\n{}", notes.join("\n"))
                };
                self.tell(&json!({"type": "finished", "summary": summary, "exit": 0}));
                Some(Role::End(0))
            }
            _ => None,
        }
    }

    fn fork(&mut self, message: &Value) -> Option<Role> {
        let slot = message.get("slot").and_then(Value::as_u64)?;
        let fds = self.control.take_fds(3)?;
        let text = |(name, value): (&String, &Value)| Some((name.clone(), value.as_str()?.to_owned()));
        let env =
            message.get("env").and_then(Value::as_object).unwrap_or(&Map::new()).iter().filter_map(text).collect();
        let parent = getpid();
        // SAFETY: this process has one thread, so the child may do anything.
        match unsafe { fork() } {
            Ok(ForkResult::Child) => Some(Role::Slot(slot::Start { fds, env, parent })),
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
            let _ =
                poll(&mut [PollFd::new(self.signals.as_fd(), PollFlags::POLLIN)], timeout(Duration::from_millis(10)));
            let _ = self.signals.read();
            self.reap_into(&mut ended);
        }
        for (pid, slot, status) in ended {
            self.tell(
                &json!({"type": "exited", "slot": slot, "pid": pid.as_raw(), "runner": pid.as_raw(), "status": status}),
            );
        }
    }
}

fn no_manifest(native: &Native, argv: &[String]) -> String {
    let command = argv.join(" ");
    match (native.status, native.connected_once()) {
        (Some(status), true) => format!("`{command}` ended without a manifest: {}", ended_how(status)),
        (Some(status), false) => format!(
            "`{command}` ended without connecting to ABQ_SOCKET ({}): is its ABQ adapter installed?",
            ended_how(status)
        ),
        (None, _) => format!("`{command}` closed its ABQ connection without a manifest"),
    }
}
