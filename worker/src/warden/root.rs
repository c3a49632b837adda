//! The warden's own process: forks keepers and holders, cleans up after those that die, ends last.
//!
//! One thread, one loop. It must not look at units (the keepers' business), and must never wait for the
//! daemon. It is the subreaper above all keepers: whatever falls to it when one of them dies is killed
//! before the daemon is told.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::prctl;
use nix::sys::signal::{Signal, kill};
use nix::unistd::{ForkResult, Pid, fork, getppid, pipe2, setsid};

use super::channel::{Channel, Peer};
use super::deadlines::Deadlines;
use super::keeper;
use super::messages::{FromWarden, Spec, Status, ToWarden};
use super::service::{self, Held};
use super::signals::Signals;
use super::tree::{self, Children};

/// How long keepers have to kill what is theirs before the warden does it.
const KEEPERS_LIMIT: Duration = Duration::from_secs(3);

/// How long a holder has to end its service: its own two seconds and one more.
const SERVICE_LIMIT: Duration = Duration::from_secs(3);

/// How long the daemon waits to hear of a dead keeper if what it left cannot be killed.
const STRAYS_LIMIT: Duration = Duration::from_secs(5);

struct Root {
    channel: Channel,
    signals: Signals,
    deadlines: Deadlines,
    keepers: HashMap<Pid, u64>,
    services: Vec<Held>,
    /// Keepers that ended, until what they left is dead too, and when that has to be.
    gone: Vec<(u64, Status, Instant)>,
}

/// What a fork of the warden becomes.
enum Job {
    Keeper { socket: OwnedFd, index: usize },
    Holder { spec: Spec, fds: Vec<OwnedFd>, reports: File },
}

enum Turn {
    Go,
    Stop,
    /// This is the child of a fork.
    Become(Job),
}

/// The warden's life.
pub(super) fn run(control: OwnedFd, table: OwnedFd) -> ! {
    // There is nobody to tell but the daemon, and it sees the socket close.
    let _ = start(control, table).map(live);
    std::process::exit(0)
}

fn start(control: OwnedFd, table: OwnedFd) -> io::Result<Root> {
    let deadlines = Deadlines::map(table)?;
    let control = inherit_nothing_but(control)?;
    let _ = setsid();
    std::env::set_current_dir("/")?;
    prctl::set_name(c"remuda-warden")?;
    prctl::set_child_subreaper(true)?;
    let mut channel = Channel::new(control);
    channel.push(&FromWarden::Ready, &[])?;
    let signals = Signals::take(getppid())?;
    let (keepers, services, gone) = (HashMap::new(), Vec::new(), Vec::new());
    Ok(Root { channel, signals, deadlines, keepers, services, gone })
}

/// Moves `control` out of the way, makes 0, 1 and 2 `/dev/null`, and closes everything else.
fn inherit_nothing_but(control: OwnedFd) -> io::Result<OwnedFd> {
    let null = File::options().read(true).write(true).open("/dev/null")?;
    // Above the three, wherever they are now: a `dup2` onto itself would leave it close-on-exec.
    let moved = above_stderr(&control)?;
    let above = above_stderr(&null)?;
    drop((control, null));
    for target in 0..=2 {
        // SAFETY: both are descriptors of this process; nothing owns 0, 1 and 2 any more.
        if unsafe { libc::dup2(above.as_raw_fd(), target) } < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    drop(above);
    let open: Vec<RawFd> = std::fs::read_dir("/proc/self/fd")?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|fd| *fd > 2 && *fd != moved.as_raw_fd())
        .collect();
    for fd in open {
        // SAFETY: nothing in this process owns a descriptor but `moved`, which is left out.
        unsafe { libc::close(fd) };
    }
    Ok(moved)
}

fn above_stderr<F: AsFd>(fd: &F) -> io::Result<OwnedFd> {
    let copy = fcntl(fd, FcntlArg::F_DUPFD_CLOEXEC(3))?;
    // SAFETY: just made by `fcntl`.
    Ok(unsafe { OwnedFd::from_raw_fd(copy) })
}

fn live(mut root: Root) {
    let job = loop {
        match root.turn() {
            Ok(Turn::Go) => {}
            Ok(Turn::Stop) | Err(_) => return root.stop(),
            Ok(Turn::Become(job)) => break job,
        }
    };
    let deadlines = root.deadlines.clone();
    // Closes the warden's descriptors in the child.
    drop(root);
    let _ = job.run(deadlines);
}

impl Job {
    fn run(self, deadlines: Deadlines) -> io::Result<()> {
        // Read before the death signal is armed; `take` compares again afterwards.
        let warden = getppid();
        prctl::set_child_subreaper(true)?;
        let signals = Signals::take(warden)?;
        match self {
            Self::Keeper { socket, index } => {
                prctl::set_name(c"remuda-keeper")?;
                keeper::run(socket, signals, deadlines, index);
            }
            Self::Holder { spec, fds, reports } => {
                prctl::set_name(c"remuda-holder")?;
                service::run(&spec, &fds, &signals, reports);
            }
        }
        Ok(())
    }
}

impl Root {
    fn turn(&mut self) -> io::Result<Turn> {
        self.channel.flush()?;
        let timeout = if self.gone.is_empty() { None } else { Some(Duration::from_secs(1)) };
        let (socket, signals) = self.wait(timeout)?;
        if signals {
            let pending = self.signals.read();
            if pending.stop {
                return Ok(Turn::Stop);
            }
            self.reap()?;
        }
        self.clean()?;
        if socket {
            if self.channel.fill()? == Peer::Closed {
                return Ok(Turn::Stop);
            }
            while let Some(message) = self.channel.next()? {
                if let Some(job) = self.obey(message)? {
                    return Ok(Turn::Become(job));
                }
            }
        }
        Ok(Turn::Go)
    }

    /// Waits for the socket or a signal, and says which.
    fn wait(&self, timeout: Option<Duration>) -> io::Result<(bool, bool)> {
        let mut events = PollFlags::POLLIN;
        if self.channel.pending() > 0 {
            events |= PollFlags::POLLOUT;
        }
        let mut fds = [PollFd::new(self.channel.as_fd(), events), PollFd::new(self.signals.as_fd(), PollFlags::POLLIN)];
        let timeout = timeout.map_or(PollTimeout::NONE, |timeout| {
            PollTimeout::try_from(timeout.as_millis()).unwrap_or(PollTimeout::MAX)
        });
        match poll(&mut fds, timeout) {
            Err(nix::errno::Errno::EINTR) => return Ok((false, false)),
            result => result?,
        };
        let arrived = PollFlags::POLLIN | PollFlags::POLLHUP | PollFlags::POLLERR;
        let hit = |fd: &PollFd<'_>| fd.revents().is_some_and(|events| events.intersects(arrived));
        Ok((hit(&fds[0]), hit(&fds[1])))
    }

    fn obey(&mut self, message: ToWarden) -> io::Result<Option<Job>> {
        match message {
            ToWarden::Keeper { serial, index } => {
                let socket = self.channel.take_fds(1)?.remove(0);
                let answer = match forked() {
                    Ok(None) => return Ok(Some(Job::Keeper { socket, index })),
                    Ok(Some(pid)) => {
                        self.keepers.insert(pid, serial);
                        FromWarden::KeeperStarted { serial, pid: pid.as_raw() }
                    }
                    Err(error) => FromWarden::KeeperFailed { serial, error: error.to_string() },
                };
                self.channel.push(&answer, &[])?;
            }
            ToWarden::Service { id, spec } => {
                let fds = self.channel.take_fds(spec.pass_fds.len())?;
                let (reader, writer) = pipe2(OFlag::O_CLOEXEC)?;
                let started = match forked() {
                    Ok(None) => {
                        let reports = File::from(writer);
                        return Ok(Some(Job::Holder { spec, fds, reports }));
                    }
                    Ok(Some(holder)) => {
                        drop(writer);
                        Held::new(id, holder, File::from(reader))
                    }
                    Err(error) => Err(error.to_string()),
                };
                let answer = match started {
                    Ok((held, pid)) => {
                        self.services.push(held);
                        FromWarden::ServiceStarted { id, pid }
                    }
                    Err(error) => FromWarden::ServiceFailed { id, error },
                };
                self.channel.push(&answer, &[])?;
            }
        }
        Ok(None)
    }

    /// Takes note of every child that ended; wakes keepers and holders that somebody stopped.
    fn reap(&mut self) -> io::Result<Children> {
        let mut ended = Vec::new();
        let left = tree::reap(true, |reaped| {
            if libc::WIFSTOPPED(reaped.status) {
                let _ = kill(reaped.pid, Signal::SIGCONT);
            } else {
                ended.push(reaped);
            }
        });
        for reaped in ended {
            let status = Status::from_raw(reaped.status);
            if let Some(serial) = self.keepers.remove(&reaped.pid) {
                self.gone.push((serial, status, Instant::now() + STRAYS_LIMIT));
            }
            if let Some(at) = self.services.iter().position(|held| held.holder == reaped.pid) {
                let held = self.services.remove(at);
                let message = FromWarden::ServiceExited { id: held.id, status: held.ended() };
                self.channel.push(&message, &[])?;
            }
        }
        Ok(left)
    }

    fn kill_strays(&self) -> usize {
        tree::kill_children(|pid| {
            self.keepers.contains_key(&pid) || self.services.iter().any(|held| held.holder == pid)
        })
    }

    /// After the death of a keeper: kills what fell to the warden, and when that is dead, says so.
    fn clean(&mut self) -> io::Result<()> {
        if self.gone.is_empty() {
            return Ok(());
        }
        let now = Instant::now();
        let clean = self.kill_strays() == 0;
        let (told, kept) = self.gone.drain(..).partition(|(_, _, limit)| clean || now >= *limit);
        self.gone = kept;
        let told: Vec<(u64, Status, Instant)> = told;
        for (serial, status, _) in told {
            self.channel.push(&FromWarden::KeeperGone { serial, status }, &[])?;
        }
        Ok(())
    }

    /// Ends everything: keepers with their units, then services in reverse order of their start.
    fn stop(mut self) {
        for keeper in self.keepers.keys() {
            let _ = kill(*keeper, Signal::SIGTERM);
        }
        self.await_end(KEEPERS_LIMIT, |root| root.keepers.is_empty());
        for keeper in self.keepers.keys() {
            let _ = kill(*keeper, Signal::SIGKILL);
        }
        self.await_end(KEEPERS_LIMIT, |root| root.keepers.is_empty() && root.kill_strays() == 0);
        while let Some(held) = self.services.last() {
            let holder = held.holder;
            held.stop();
            let ended = |root: &Self| root.services.iter().all(|held| held.holder != holder);
            self.await_end(SERVICE_LIMIT, ended);
            if !ended(&self) {
                let _ = kill(holder, Signal::SIGKILL);
                self.await_end(SERVICE_LIMIT, ended);
                self.services.retain(|held| held.holder != holder);
            }
        }
        self.await_end(SERVICE_LIMIT, |root| root.kill_strays() == 0);
        let _ = self.clean();
        let _ = self.channel.flush();
    }

    /// Reaps until `done`, or until the limit is over.
    fn await_end(&mut self, limit: Duration, done: impl Fn(&Self) -> bool) {
        let until = Instant::now() + limit;
        loop {
            self.signals.read();
            let _ = self.reap();
            let left = until.saturating_duration_since(Instant::now());
            if done(self) || left.is_zero() {
                return;
            }
            let timeout = PollTimeout::try_from(left.as_millis() + 1).unwrap_or(PollTimeout::MAX);
            let _ = poll(&mut [PollFd::new(self.signals.as_fd(), PollFlags::POLLIN)], timeout);
        }
    }
}

/// Forks; none in the child.
fn forked() -> io::Result<Option<Pid>> {
    // SAFETY: this process has one thread, so the child may do anything.
    match unsafe { fork() }? {
        ForkResult::Child => Ok(None),
        ForkResult::Parent { child } => Ok(Some(child)),
    }
}
