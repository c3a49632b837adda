//! What a native runner prints: kept, passed on or dropped; it never blocks the runner for long.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::unistd::{pipe2, read};

/// Bytes kept of each stream while nobody hears it, from its end.
const KEPT: usize = 256 << 10;

/// Where stdout and stderr are passed on to.
pub(super) type Destination = Rc<[File; 2]>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Keep,
    Pass,
    Drop,
}

/// Both streams of one native runner.
#[derive(Debug)]
pub(super) struct Output {
    pipes: [Option<OwnedFd>; 2],
    kept: [Vec<u8>; 2],
    to: Option<Destination>,
    mode: Mode,
}

impl Output {
    /// Keeps what is printed until told otherwise; returns the ends for the runner.
    pub(super) fn open(to: Option<Destination>) -> io::Result<(Self, [OwnedFd; 2])> {
        let (out, out_end) = pipe2(OFlag::O_CLOEXEC)?;
        let (err, err_end) = pipe2(OFlag::O_CLOEXEC)?;
        for pipe in [&out, &err] {
            fcntl(pipe, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        }
        let output = Self { pipes: [Some(out), Some(err)], kept: [Vec::new(), Vec::new()], to, mode: Mode::Keep };
        Ok((output, [out_end, err_end]))
    }

    /// What to poll.
    pub(super) fn fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.pipes.iter().flatten().map(AsFd::as_fd)
    }

    /// Takes what has been printed.
    pub(super) fn drain(&mut self) {
        let mut chunk = vec![0; 32 << 10];
        for stream in 0..2 {
            while let Some(pipe) = &self.pipes[stream] {
                match read(pipe, &mut chunk) {
                    Ok(0) => self.pipes[stream] = None,
                    Ok(count) => self.take(stream, &chunk[..count]),
                    Err(Errno::EAGAIN) => break,
                    Err(Errno::EINTR) => {}
                    Err(_) => self.pipes[stream] = None,
                }
            }
        }
    }

    fn take(&mut self, stream: usize, bytes: &[u8]) {
        match (self.mode, &self.to) {
            (Mode::Pass, Some(to)) => _ = (&to[stream]).write_all(bytes),
            (Mode::Keep, _) => {
                let kept = &mut self.kept[stream];
                kept.extend_from_slice(bytes);
                if kept.len() > 2 * KEPT {
                    kept.drain(..kept.len() - KEPT);
                }
            }
            _ => {}
        }
    }

    /// From now on what is printed is passed on; what was kept is not.
    pub(super) fn pass(&mut self) {
        self.drain();
        self.mode = Mode::Pass;
        self.kept = [Vec::new(), Vec::new()];
    }

    /// From now on nothing is heard of it.
    pub(super) fn hush(&mut self) {
        self.drain();
        self.mode = Mode::Drop;
    }

    /// Passes on what was kept: it explains why the runner never came up.
    pub(super) fn confess(&mut self) {
        self.drain();
        let kept = std::mem::take(&mut self.kept);
        self.mode = Mode::Pass;
        for (stream, bytes) in kept.iter().enumerate() {
            self.take(stream, bytes);
        }
    }

    /// What was kept.
    pub(super) fn text(&self) -> String {
        self.kept.iter().map(|bytes| String::from_utf8_lossy(bytes)).collect()
    }
}
