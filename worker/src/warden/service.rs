//! Services: programs of the warden itself that end last (the embedded Redis).
//!
//! Each has a holder, a fork of the warden and a subreaper like a keeper, so that a service too ends with
//! everything it started, and ends when the warden is killed. It gets TERM and two seconds before KILL.
//! Its output goes to `/dev/null` unless descriptors were passed for 1 and 2. A holder must not know the
//! daemon: it speaks to the warden only, through a pipe that the warden reads after start and at the end.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;

use super::keeper::end_children;
use super::messages::{FromHolder, Spec, Status};
use super::process::{self, Base};
use super::signals::Signals;
use super::tree;
use super::wire;

/// From TERM to KILL.
const GRACE: Duration = Duration::from_secs(2);

/// The warden's view of a service.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) id: u64,
    pub(super) holder: Pid,
    reports: File,
}

impl Held {
    /// Waits until the holder of service `id` has started it; returns the service's own number too.
    pub(super) fn new(id: u64, holder: Pid, reports: File) -> Result<(Self, i32), String> {
        let mut held = Self { id, holder, reports };
        match held.read() {
            Ok(FromHolder::Started { pid }) => Ok((held, pid)),
            Ok(FromHolder::Failed { error }) => Err(error),
            Ok(FromHolder::Ended { .. }) | Err(_) => Err("the service's holder ended".to_owned()),
        }
    }

    /// How the service ended, once its holder has.
    pub(super) fn ended(mut self) -> Status {
        match self.read() {
            Ok(FromHolder::Ended { status }) => status,
            _ => Status { code: None, signal: Some(Signal::SIGKILL as i32) },
        }
    }

    /// Asks the holder to end its service.
    pub(super) fn stop(&self) {
        let _ = kill(self.holder, Signal::SIGTERM);
    }

    fn read(&mut self) -> io::Result<FromHolder> {
        let mut header = [0; wire::HEADER];
        self.reports.read_exact(&mut header)?;
        let (json, _) = wire::lengths(header)?;
        let mut body = vec![0; json];
        self.reports.read_exact(&mut body)?;
        Ok(serde_json::from_slice(&body)?)
    }
}

/// The holder: starts the service, waits for its end or for a word to end it, and returns.
pub(super) fn run(spec: &Spec, fds: &[OwnedFd], signals: &Signals, mut reports: File) {
    let mut say = |message: &FromHolder| {
        let mut frame = Vec::new();
        // If nobody listens the warden is gone, which the signals tell.
        let _ = wire::encode(&mut frame, message, &[]).and_then(|()| reports.write_all(&frame));
    };
    let started = File::options().write(true).open("/dev/null").map_err(|error| error.to_string());
    let started = started.and_then(|null| process::spawn(&Base::default(), spec, fds, null.as_fd(), null.as_fd()));
    match started {
        Err(error) => say(&FromHolder::Failed { error }),
        Ok(pid) => {
            say(&FromHolder::Started { pid: pid.as_raw() });
            let status = wait(pid, signals);
            end_children();
            say(&FromHolder::Ended { status });
        }
    }
}

/// Waits for the service's own end, or ends it.
fn wait(service: Pid, signals: &Signals) -> Status {
    let mut status = None;
    let mut kill_at: Option<Instant> = None;
    loop {
        tree::reap(false, |reaped| {
            if reaped.pid == service {
                status = Some(Status::from_raw(reaped.status));
            }
        });
        if let Some(status) = status {
            return status;
        }
        let left = kill_at.map(|at| at.saturating_duration_since(Instant::now()));
        if left.is_some_and(|left| left.is_zero()) {
            tree::kill_children(|_| false);
            kill_at = Some(Instant::now() + GRACE);
            continue;
        }
        let timeout = left
            .map_or(PollTimeout::NONE, |left| PollTimeout::try_from(left.as_millis() + 1).unwrap_or(PollTimeout::MAX));
        let _ = poll(&mut [PollFd::new(signals.as_fd(), PollFlags::POLLIN)], timeout);
        if signals.read().stop && kill_at.is_none() {
            let _ = killpg(service, Signal::SIGTERM);
            let _ = killpg(service, Signal::SIGCONT);
            kill_at = Some(Instant::now() + GRACE);
        }
    }
}
