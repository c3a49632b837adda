//! The keeper: runs the units of one slot (or one loader), one after another, and ends each whole.
//!
//! A fork of the warden, one thread, one loop around `poll`. It answers to the daemon's socket, to its
//! signals and to the clock, and waits for none of them: units follow each other without asking the
//! daemon, and results wait in a buffer if the daemon does not read (beyond [`FULL`] no further unit is
//! started). Idle, it sleeps without a timeout.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::capture::Stream;
use super::channel::{Channel, Peer};
use super::deadlines::{Deadlines, boottime_now_ms};
use super::messages::{Exited, FromKeeper, Reason, Run, ToKeeper};
use super::process::Base;
use super::signals::Signals;
use super::tree::{self, Children, TreeKill};
use super::unit::Running;

/// With this much unread by the daemon no unit is started.
const FULL: usize = 4 << 20;

/// With this much unread by the daemon live output is dropped.
const LIVE_FULL: usize = 512 << 10;

/// How much a question for the last output is answered with.
const TAIL: usize = 4 << 10;

/// A running unit's deadline is looked at this often, whatever it said the last time.
const LOOK: Duration = Duration::from_secs(1);

/// Bytes read from a pipe at once: as much as it holds.
const READ: usize = 64 << 10;

/// A unit that waits for its turn.
struct Queued {
    run: Run,
    base: Rc<Base>,
    fds: Vec<OwnedFd>,
}

struct Keeper {
    channel: Channel,
    signals: Signals,
    deadlines: Deadlines,
    index: usize,
    base: Rc<Base>,
    queue: VecDeque<Queued>,
    running: Option<Running>,
    trees: Vec<TreeKill>,
    buffer: Vec<u8>,
}

/// What `poll` found.
#[derive(Default)]
struct Ready {
    socket: bool,
    signals: bool,
    out: bool,
    err: bool,
}

/// Runs units for the daemon behind `socket` until it closes, then kills everything and returns.
pub(super) fn run(socket: OwnedFd, signals: Signals, deadlines: Deadlines, index: usize) {
    let mut keeper = Keeper {
        channel: Channel::new(socket),
        signals,
        deadlines,
        index,
        base: Rc::default(),
        queue: VecDeque::new(),
        running: None,
        trees: Vec::new(),
        buffer: vec![0; READ],
    };
    // Whatever the error is, without the daemon nothing may go on.
    while let Ok(Peer::Open) = keeper.turn() {}
    end_children();
}

/// Kills everything beneath this process and waits until it is gone.
pub(super) fn end_children() {
    while tree::reap(false, |_| {}) == Children::Some {
        tree::kill_children(|_| false);
        // Every child has been killed: one will end. The warden has a limit for us if it does not.
        let _ = nix::sys::wait::waitid(
            nix::sys::wait::Id::All,
            nix::sys::wait::WaitPidFlag::WEXITED | nix::sys::wait::WaitPidFlag::WNOWAIT,
        );
    }
}

impl Keeper {
    fn turn(&mut self) -> io::Result<Peer> {
        self.start_next()?;
        self.channel.flush()?;
        let ready = self.wait()?;
        if let Some(running) = &mut self.running {
            if ready.out {
                running.pump(Stream::Out, &mut self.buffer);
            }
            if ready.err {
                running.pump(Stream::Err, &mut self.buffer);
            }
        }
        if ready.signals && self.signals.read().stop {
            return Ok(Peer::Closed);
        }
        if ready.socket {
            if self.channel.fill()? == Peer::Closed {
                return Ok(Peer::Closed);
            }
            while let Some(message) = self.channel.next()? {
                self.obey(message)?;
            }
        }
        self.tick(ready.signals)?;
        Ok(Peer::Open)
    }

    fn lease_passed(&self) -> bool {
        let deadline = self.deadlines.get(self.index);
        deadline != 0 && boottime_now_ms() >= deadline
    }

    /// Starts units until one runs.
    fn start_next(&mut self) -> io::Result<()> {
        while self.running.is_none() && self.channel.pending() < FULL && !self.queue.is_empty() {
            if self.lease_passed() {
                // Whoever had these leases may not have them any more: nothing of it may ever start.
                let ids = self.queue.drain(..).map(|queued| queued.run.id).collect();
                return self.channel.push(&FromKeeper::Dropped { ids, lease: true }, &[]);
            }
            let Some(Queued { run, base, fds }) = self.queue.pop_front() else {
                break;
            };
            match Running::start(&base, &run, &fds) {
                Ok(running) => {
                    let (id, pid) = (running.id, running.pid.as_raw());
                    self.running = Some(running);
                    self.channel.push(&FromKeeper::Started { id, pid }, &[])?;
                }
                Err(error) => self.report(Exited::not_started(run.id, error))?,
            }
        }
        Ok(())
    }

    fn report(&mut self, mut exited: Exited) -> io::Result<()> {
        let output = std::mem::take(&mut exited.output);
        self.channel.push(&FromKeeper::Exited(exited), &output)
    }

    /// How long `poll` may sleep.
    fn timeout(&self) -> PollTimeout {
        let now = Instant::now();
        let Some(running) = &self.running else {
            return PollTimeout::NONE;
        };
        let mut wait = LOOK;
        if let Some(at) = running.next_at() {
            wait = wait.min(at.saturating_duration_since(now));
        }
        let deadline = self.deadlines.get(self.index);
        if deadline != 0 && !running.is_killed() {
            wait = wait.min(Duration::from_millis(deadline.saturating_sub(boottime_now_ms())));
        }
        if !self.trees.is_empty() {
            wait = wait.min(TreeKill::STEP);
        }
        // Rounded up: `poll` counts in milliseconds and must not turn in circles before the moment.
        let millis = wait.as_micros().div_ceil(1000);
        PollTimeout::try_from(millis).unwrap_or(PollTimeout::MAX)
    }

    fn wait(&self) -> io::Result<Ready> {
        let mut events = PollFlags::POLLIN;
        if self.channel.pending() > 0 {
            events |= PollFlags::POLLOUT;
        }
        let mut fds = Vec::with_capacity(4);
        fds.push(PollFd::new(self.channel.as_fd(), events));
        fds.push(PollFd::new(self.signals.as_fd(), PollFlags::POLLIN));
        let out = self.running.as_ref().and_then(|running| running.out.as_ref());
        let err = self.running.as_ref().and_then(|running| running.err.as_ref());
        fds.extend(out.map(|pipe| PollFd::new(pipe.as_fd(), PollFlags::POLLIN)));
        fds.extend(err.map(|pipe| PollFd::new(pipe.as_fd(), PollFlags::POLLIN)));
        match poll(&mut fds, self.timeout()) {
            Err(Errno::EINTR) => return Ok(Ready::default()),
            result => result?,
        };
        let arrived = PollFlags::POLLIN | PollFlags::POLLHUP | PollFlags::POLLERR;
        let hit = |fd: &PollFd<'_>| fd.revents().is_some_and(|events| events.intersects(arrived));
        let out_at = out.is_some().then_some(2);
        let err_at = err.is_some().then_some(2 + usize::from(out.is_some()));
        Ok(Ready {
            socket: hit(&fds[0]),
            signals: hit(&fds[1]),
            out: out_at.is_some_and(|at| hit(&fds[at])),
            err: err_at.is_some_and(|at| hit(&fds[at])),
        })
    }

    fn obey(&mut self, message: ToKeeper) -> io::Result<()> {
        let now = Instant::now();
        let running = self.running.as_mut();
        match message {
            ToKeeper::Base { env, cwd } => self.base = Rc::new(Base::new(env, &cwd)),
            ToKeeper::Run(run) => {
                let fds = self.channel.take_fds(run.spec.pass_fds.len())?;
                self.queue.push_back(Queued { run, base: Rc::clone(&self.base), fds });
            }
            ToKeeper::Kill { id, now: at_once } => match running {
                Some(running) if running.id == id => running.end(Reason::Killed, at_once, now),
                _ => self.unqueue(&[id], false)?,
            },
            ToKeeper::Drop { ids } => self.unqueue(&ids, true)?,
            ToKeeper::KillTree { pid } if running.is_some() => {
                self.trees.extend(TreeKill::begin(nix::unistd::Pid::from_raw(pid), now));
            }
            ToKeeper::KillTree { .. } => {}
            ToKeeper::Live { id, on } => {
                if let Some(running) = running.filter(|running| running.id == id) {
                    running.set_live(on);
                }
                for queued in self.queue.iter_mut().filter(|queued| queued.run.id == id) {
                    queued.run.live = on;
                }
            }
            ToKeeper::Tail { id } => {
                let last = running.filter(|running| running.id == id).map(|running| running.last(TAIL));
                let last = last.unwrap_or_default();
                self.channel.push(&FromKeeper::Tail { id, pieces: last.pieces }, &last.bytes)?;
            }
        }
        Ok(())
    }

    /// Takes units out of the queue and says which; also if there are none, when `answer` is expected.
    fn unqueue(&mut self, ids: &[u64], answer: bool) -> io::Result<()> {
        let mut dropped = Vec::new();
        self.queue.retain(|queued| {
            let found = ids.contains(&queued.run.id);
            dropped.extend(found.then_some(queued.run.id));
            !found
        });
        if answer || !dropped.is_empty() {
            self.channel.push(&FromKeeper::Dropped { ids: dropped, lease: false }, &[])?;
        }
        Ok(())
    }

    /// Everything that time or a signal has brought about.
    fn tick(&mut self, signalled: bool) -> io::Result<()> {
        let now = Instant::now();
        let lease_passed = self.running.is_some() && self.lease_passed();
        let room = self.channel.pending() < LIVE_FULL;
        self.trees.retain(|tree| !tree.step(now));
        let Some(running) = &mut self.running else {
            if signalled {
                tree::reap(false, |_| {});
            }
            return Ok(());
        };
        if lease_passed && !running.is_killed() {
            running.end(Reason::Lease, true, now);
        }
        running.tick(now);
        for (message, blob) in running.take_live(now, room, false) {
            self.channel.push(&message, &blob)?;
        }
        let overdue = running.next_at().is_some_and(|at| now >= at);
        if signalled || overdue {
            let left = tree::reap(false, |reaped| running.reaped(reaped)) == Children::Some;
            if running.settle(left, now) {
                self.finish(left)?;
            }
        }
        Ok(())
    }

    /// Reads the rest of the output and reports.
    fn finish(&mut self, left: bool) -> io::Result<()> {
        let Some(mut running) = self.running.take() else {
            return Ok(());
        };
        self.trees.clear();
        running.drain(&mut self.buffer);
        let room = self.channel.pending() < LIVE_FULL;
        for (message, blob) in running.take_live(Instant::now(), room, true) {
            self.channel.push(&message, &blob)?;
        }
        self.report(running.finish(left))
    }
}
