//! Collecting with a native runner: started once, told to generate a manifest, heard, ended.

use std::ffi::CStr;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde::Deserialize;
use serde_json::{Value, json};

use super::native::Native;
use super::protocol::{self, Manifest};
use super::slot;
use crate::bridge::loader::{Backend, Failure, Link, Start};
use crate::bridge::{ended_how, timeout};

/// How long a command may take until it has connected: one that has not by then speaks no ABQ.
pub(super) const CONNECT_LIMIT: Duration = Duration::from_secs(60);
/// How long a runner may take for its end after its manifest.
const END_LIMIT: Duration = Duration::from_secs(10);
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

/// A bridge to an ABQ adapter.
pub(super) struct Abq {
    load: Load,
    manifest: Manifest,
    specification: Value,
}

impl Backend for Abq {
    const NAME: &'static CStr = c"remuda-abq";
    type Load = Load;

    fn new(load: Load) -> Self {
        let specification = json!({"type": "abq_native_runner_specification", "name": "remuda-abq", "version": env!("CARGO_PKG_VERSION")});
        Self { load, manifest: Manifest::default(), specification }
    }

    fn collect(&mut self, link: &mut Link) -> Result<(), Failure> {
        self.manifest = self.find(link)?;
        Ok(())
    }

    fn specification(&self) -> Value {
        self.specification.clone()
    }

    fn tests(&self) -> Vec<Value> {
        self.manifest.tests.iter().map(|t| json!({"id": t.id, "file": t.file, "scope": t.scope})).collect()
    }

    fn summary(&self) -> String {
        if self.manifest.notes.is_empty() {
            return String::new();
        }
        format!("While collecting, the ABQ adapter also said:\n{}", self.manifest.notes.join("\n"))
    }

    fn slot(self, start: Start) -> i32 {
        slot::run(start, &self.load, &self.manifest)
    }
}

impl Abq {
    /// Lets a native runner collect.
    fn find(&mut self, link: &mut Link) -> Result<Manifest, Failure> {
        let fail = |message: String| Failure { message, exit: 1, output: String::new() };
        let mut native = Native::start(&self.load.argv, &[], true, None).map_err(fail)?;
        let found = self.hear_manifest(&mut native, link);
        if found.is_ok() {
            native.wait_for_end(&link.signals, END_LIMIT);
        }
        let status = native.status;
        native.kill(&link.signals);
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
    fn hear_manifest(&mut self, native: &mut Native, link: &mut Link) -> Result<Manifest, (String, String)> {
        let connect_by = Instant::now() + CONNECT_LIMIT;
        let plain = |message: String| (message, String::new());
        let mut greeted = false;
        loop {
            let left = connect_by.saturating_duration_since(Instant::now());
            let wait = if native.connected_once() { PollTimeout::NONE } else { timeout(left) };
            let mut fds: Vec<PollFd<'_>> = native
                .fds()
                .chain([link.signals.as_fd(), link.control.as_fd()])
                .map(|fd| PollFd::new(fd, PollFlags::POLLIN))
                .collect();
            let _ = poll(&mut fds, wait);
            link.control.fill();
            if link.signals.read().stop || !link.control.open {
                return Err(plain("the daemon is gone".to_owned()));
            }
            native.look_after();
            while let Some(message) = native.next().map_err(|what| plain(format!("the ABQ adapter {what}")))? {
                if greeted {
                    return protocol::manifest(message);
                }
                self.specification =
                    protocol::greeting(&message).map_err(|what| plain(format!("the ABQ adapter {what}")))?;
                greeted = true;
            }
            if native.status.is_some() || native.hung_up() {
                native.wait_for_end(&link.signals, END_LIMIT);
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
