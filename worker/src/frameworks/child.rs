//! One process of a slot: started with pipes, read without blocking it, signalled as a group, ended with all that it
//! has started. The slot is a subreaper, so that what a dead process leaves comes to it.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, poll};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::{Pid, pipe2, read};

use super::Launch;
use crate::bridge::timeout;
use crate::warden::process::spawn_at;
use crate::warden::signals::Signals;
use crate::warden::tree::{Children, kill_children, reap};

/// How long something that was killed is waited for: an uninterruptible wait must not hold a slot for ever.
const KILL_LIMIT: Duration = Duration::from_secs(10);
/// Read at once.
const CHUNK: usize = 64 << 10;

/// A running process.
#[derive(Debug)]
pub(super) struct Child {
    pid: Pid,
    pipes: [Option<OwnedFd>; 2],
    pub(super) since: Instant,
    /// Its wait status and when it was seen, once it has ended.
    pub(super) ended: Option<(i32, Instant)>,
}

impl Child {
    /// Starts one. The error is for people.
    pub(super) fn start(launch: &Launch) -> Result<Self, String> {
        let failed = |error: Errno| format!("no pipe for its output: {error}");
        let (out, out_end) = pipe2(OFlag::O_CLOEXEC).map_err(failed)?;
        let (err, err_end) = pipe2(OFlag::O_CLOEXEC).map_err(failed)?;
        for pipe in [&out, &err] {
            fcntl(pipe, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).map_err(failed)?;
        }
        let second = if launch.merged { &out_end } else { &err_end };
        let pid = spawn_at(&launch.argv, &launch.env, &launch.cwd, out_end.as_fd(), second.as_fd())?;
        Ok(Self { pid, pipes: [Some(out), Some(err)], since: Instant::now(), ended: None })
    }

    /// What to poll.
    pub(super) fn fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.pipes.iter().flatten().map(AsFd::as_fd)
    }

    /// Whether all of its output has been read.
    pub(super) fn is_read(&self) -> bool {
        self.pipes.iter().all(Option::is_none)
    }

    /// Reads what is there.
    pub(super) fn read(&mut self, mut take: impl FnMut(usize, &[u8])) {
        let mut chunk = vec![0; CHUNK];
        for (stream, slot) in self.pipes.iter_mut().enumerate() {
            while let Some(pipe) = slot {
                match read(&*pipe, &mut chunk) {
                    Ok(0) => *slot = None,
                    Ok(count) => take(stream, &chunk[..count]),
                    Err(Errno::EAGAIN) => break,
                    Err(Errno::EINTR) => {}
                    Err(_) => *slot = None,
                }
            }
        }
    }

    /// Buries what has ended; whether anything is left beneath the slot.
    pub(super) fn reap(&mut self) -> Children {
        let (pid, ended) = (self.pid, &mut self.ended);
        reap(false, |one| {
            if one.pid == pid {
                *ended = Some((one.status, Instant::now()));
            }
        })
    }

    /// Sends a signal to it and its group.
    pub(super) fn signal(&self, signal: Signal) {
        if self.ended.is_none() {
            let _ = killpg(self.pid, signal);
        }
    }

    /// Kills it and everything that it has started; its status is that of before.
    pub(super) fn kill_all(&mut self, signals: &Signals) {
        let until = Instant::now() + KILL_LIMIT;
        while self.reap() != Children::None && Instant::now() < until {
            kill_children(|_| false);
            if self.reap() == Children::None {
                return;
            }
            // its death is a signal; the limit is for a death that does not come
            let left = until.saturating_duration_since(Instant::now());
            let _ = poll(&mut [PollFd::new(signals.as_fd(), PollFlags::POLLIN)], timeout(left));
            if signals.read().stop {
                return;
            }
        }
    }
}
