//! Signals of the single-threaded processes: all blocked, the few that matter read from a descriptor.
//!
//! Nothing but KILL and STOP reaches a warden, keeper or holder unasked: a test that sends TERM or HUP
//! to its parent must not end it. Three are read:
//!
//! - CHLD: something to reap;
//! - CONT: the death signal. When the parent dies the kernel sends it, which also resumes a process
//!   that had been stopped; sent by anybody else it means nothing, because the parent is still there;
//! - TERM: from the parent it means "end what is beneath you and exit".

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use nix::sys::prctl;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::{Pid, getppid};

/// What the signals that were pending ask for.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Pending {
    /// Children may have ended.
    pub(super) child: bool,
    /// The parent is gone, or wants this process to end.
    pub(crate) stop: bool,
}

/// The signals of this process.
#[derive(Debug)]
pub(crate) struct Signals {
    fd: SignalFd,
    parent: Pid,
}

impl Signals {
    /// Blocks everything that can be blocked and asks for CONT when `parent` dies. Fails if the parent
    /// has died already.
    pub(crate) fn take(parent: Pid) -> io::Result<Self> {
        let mut all = SigSet::all();
        for fault in [
            Signal::SIGSEGV,
            Signal::SIGBUS,
            Signal::SIGFPE,
            Signal::SIGILL,
            Signal::SIGABRT,
            Signal::SIGTRAP,
            Signal::SIGSYS,
        ] {
            all.remove(fault);
        }
        all.thread_set_mask()?;
        let mut read = SigSet::empty();
        for signal in [Signal::SIGCHLD, Signal::SIGCONT, Signal::SIGTERM] {
            read.add(signal);
        }
        let fd = SignalFd::with_flags(&read, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?;
        prctl::set_pdeathsig(Signal::SIGCONT)?;
        let signals = Self { fd, parent };
        if signals.orphaned() {
            return Err(io::Error::other("the parent is gone"));
        }
        Ok(signals)
    }

    /// Whether the parent has died.
    fn orphaned(&self) -> bool {
        getppid() != self.parent
    }

    /// Reads what is pending.
    pub(crate) fn read(&self) -> Pending {
        let mut pending = Pending::default();
        while let Ok(Some(info)) = self.fd.read_signal() {
            match Signal::try_from(info.ssi_signo.cast_signed()) {
                Ok(Signal::SIGCHLD) => pending.child = true,
                Ok(Signal::SIGTERM) => {
                    pending.stop |= info.ssi_pid.cast_signed() == self.parent.as_raw();
                }
                _ => pending.stop |= self.orphaned(),
            }
        }
        pending
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
