//! One native runner: started with a port of its own, connected once, spoken to, ended with all that it started.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, poll};
use nix::unistd::{Pid, getuid};
use serde_json::Value;

use super::output::{Destination, Output};
use super::sight::{self, Look, Sight};
use crate::bridge::timeout;
use crate::bridge::wire::Socket;
use crate::warden::process::spawn_here;
use crate::warden::signals::Signals;
use crate::warden::tree::{Children, kill_children, reap};

/// How long a runner that was told to end may take for it.
const GRACE: Duration = Duration::from_secs(10);
/// How long something that was killed is waited for: an uninterruptible wait must not hold a slot for ever.
const KILL_LIMIT: Duration = Duration::from_secs(10);
/// How long a write to a runner may take that does not read.
const WRITE_LIMIT: Duration = Duration::from_secs(10);

#[derive(Debug)]
enum Line {
    /// It has not connected yet.
    Listening(TcpListener),
    Talking(Socket),
    /// We have closed it.
    Closed,
}

/// A native runner.
#[derive(Debug)]
pub(super) struct Native {
    pid: Pid,
    line: Line,
    sight: Option<Sight>,
    ends: Option<(SocketAddr, SocketAddr)>,
    /// What it prints.
    pub(super) output: Output,
    /// Its wait status, once it has ended.
    pub(super) status: Option<i32>,
}

impl Native {
    /// Starts one. The error is for people.
    pub(super) fn start(
        argv: &[String],
        env: &[(String, String)],
        collecting: bool,
        to: Option<Destination>,
    ) -> Result<Self, String> {
        let failed = |error: std::io::Error| format!("the ABQ adapter could not be started: {error}");
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let (output, [out, err]) = Output::open(to).map_err(failed)?;
        let own = [
            ("REMUDA_LOAD", None),
            ("REMUDA_RUNNER_FD", None),
            ("ABQ_SOCKET", Some(address.to_string())),
            ("ABQ_GENERATE_MANIFEST", collecting.then(|| "1".to_owned())),
        ];
        let changes = env
            .iter()
            .map(|(name, value)| (name.clone(), Some(value.clone())))
            .chain(own.map(|(name, value)| (name.to_owned(), value)));
        let pid = spawn_here(argv, &changes.collect::<Vec<_>>(), out.as_fd(), err.as_fd())?;
        Ok(Self { pid, line: Line::Listening(listener), sight: None, ends: None, output, status: None })
    }

    /// What to poll.
    pub(super) fn fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let line = match &self.line {
            Line::Listening(listener) => Some(listener.as_fd()),
            Line::Talking(socket) if socket.open => Some(socket.as_fd()),
            _ => None,
        };
        line.into_iter().chain(self.output.fds())
    }

    /// Takes in all that has happened: its output, its connection, its end.
    pub(super) fn look_after(&mut self) {
        // the end first: what was written before it is read after it
        self.reap();
        self.output.drain();
        if let Line::Listening(listener) = &self.line
            && let Ok((stream, peer)) = listener.accept()
        {
            self.connected(stream, peer);
        }
        if let Line::Talking(socket) = &mut self.line {
            socket.fill();
        }
    }

    /// Takes a connection of our own user, and closes the port behind it; others are sent away.
    fn connected(&mut self, stream: TcpStream, peer: SocketAddr) {
        let Ok(own) = stream.local_addr() else { return };
        if sight::line(peer, own).is_some_and(|l| l.uid != getuid().as_raw()) {
            return;
        }
        let settings = stream
            .set_nodelay(true)
            .and_then(|()| stream.set_nonblocking(false))
            .and_then(|()| stream.set_write_timeout(Some(WRITE_LIMIT)));
        if settings.is_ok() {
            self.ends = Some((peer, own));
            self.line = Line::Talking(Socket::new(OwnedFd::from(stream)));
        }
    }

    /// Its next message. The error says what it sent instead: "sent …".
    pub(super) fn next(&mut self) -> Result<Option<Value>, String> {
        match &mut self.line {
            Line::Talking(socket) => socket.next(),
            _ => Ok(None),
        }
    }

    /// Sends it a message; whoever does not take it will be found closed.
    pub(super) fn send(&mut self, message: &Value) {
        if let Line::Talking(socket) = &mut self.line
            && socket.send(message).is_err()
        {
            socket.open = false;
        }
        if let Some(sight) = &mut self.sight {
            sight.reset();
        }
    }

    /// Whether it has connected and then closed its end.
    pub(super) fn hung_up(&self) -> bool {
        matches!(&self.line, Line::Talking(socket) if !socket.open)
    }

    /// Whether it has ever connected.
    pub(super) fn connected_once(&self) -> bool {
        self.ends.is_some()
    }

    /// It has introduced itself.
    pub(super) fn introduced(&mut self, specification: &Value) {
        let name = specification.get("name").and_then(Value::as_str).unwrap_or("");
        self.sight = self.ends.and_then(|(theirs, ours)| Sight::new(name, theirs, ours));
    }

    /// Whether it waits for the next test.
    pub(super) fn look(&mut self) -> Look {
        self.sight.as_mut().map_or(Look::Blind, |sight| sight.look(self.pid))
    }

    /// There is nothing to see.
    pub(super) fn unwatch(&mut self) {
        self.sight = None;
    }

    /// Whether it may be seen waiting.
    pub(super) fn is_watched(&self) -> bool {
        self.sight.is_some()
    }

    fn reap(&mut self) -> Children {
        let (pid, status) = (self.pid, &mut self.status);
        reap(false, |ended| {
            if ended.pid == pid {
                *status = Some(ended.status);
            }
        })
    }

    /// Closes the connection, which means that no more tests come, and waits for its own end.
    pub(super) fn retire(mut self, signals: &Signals) {
        self.output.hush();
        if self.connected_once() {
            self.line = Line::Closed;
            self.wait_for_end(signals, GRACE);
        }
        self.kill(signals);
    }

    /// Waits until it has ended; whether it has.
    pub(super) fn wait_for_end(&mut self, signals: &Signals, limit: Duration) -> bool {
        self.wait_until(signals, limit, |native, _| native.status.is_some())
    }

    /// Kills it and everything that it has started. Its status is that of before.
    pub(super) fn kill(&mut self, signals: &Signals) {
        self.wait_until(signals, KILL_LIMIT, |_, children| {
            let none = children == Children::None;
            if !none {
                kill_children(|_| false);
            }
            none
        });
        self.output.drain();
    }

    fn wait_until(
        &mut self,
        signals: &Signals,
        limit: Duration,
        mut done: impl FnMut(&Self, Children) -> bool,
    ) -> bool {
        let until = Instant::now() + limit;
        loop {
            let stop = signals.read().stop;
            let children = self.reap();
            self.output.drain();
            if done(self, children) {
                return true;
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() || stop {
                return false;
            }
            let mut fds: Vec<PollFd<'_>> =
                self.output.fds().chain([signals.as_fd()]).map(|fd| PollFd::new(fd, PollFlags::POLLIN)).collect();
            let _ = poll(&mut fds, timeout(left));
        }
    }
}
