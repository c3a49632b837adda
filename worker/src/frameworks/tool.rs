//! Runs the framework's own tool while collecting (cargo, go, a listing command) and gives up when the daemon does.

use std::os::fd::{AsFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::{pipe2, read};

use crate::bridge::ended_how;
use crate::bridge::loader::{Failure, Link};
use crate::warden::process::spawn_here;
use crate::warden::tree::reap;

/// Kept of what a tool says on stderr, from its end.
const KEPT: usize = 256 << 10;

/// What a tool did.
#[derive(Debug, Default)]
pub(super) struct Output {
    pub(super) status: i32,
    pub(super) stdout: Vec<u8>,
    pub(super) stderr: Vec<u8>,
}

impl Output {
    /// As a shell would say it.
    pub(super) fn exit(&self) -> i32 {
        if self.status & 0x7f == 0 { (self.status >> 8) & 0xff } else { 128 + (self.status & 0x7f) }
    }

    pub(super) fn errors(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }

    /// Its stdout as text, if it ended well.
    pub(super) fn text(self, argv: &[String]) -> Result<String, Failure> {
        if self.status == 0 {
            return Ok(String::from_utf8_lossy(&self.stdout).into_owned());
        }
        Err(self.failure(argv))
    }

    /// Why there are no tests.
    pub(super) fn failure(&self, argv: &[String]) -> Failure {
        let printed = format!("{}{}", String::from_utf8_lossy(&self.stdout), self.errors());
        Failure {
            message: format!("`{}` failed: {}", argv.join(" "), ended_how(self.status)),
            exit: self.exit().max(1),
            output: printed,
        }
    }
}

/// Runs a tool in this process's folder and environment with these changes, to its end.
pub(super) fn run(argv: &[String], env: &[(String, Option<String>)], link: &mut Link) -> Result<Output, Failure> {
    let failed = |message: String| Failure { message, exit: 1, output: String::new() };
    let pipe = || pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK).map_err(|e| failed(format!("no pipe: {e}")));
    let (out, out_end) = pipe()?;
    let (err, err_end) = pipe()?;
    for end in [&out_end, &err_end] {
        nix::fcntl::fcntl(end, nix::fcntl::FcntlArg::F_SETFL(OFlag::empty())).map_err(|e| failed(e.to_string()))?;
    }
    let own = ["REMUDA_LOAD", "REMUDA_RUNNER_FD"].map(|name| (name.to_owned(), None));
    let changes: Vec<_> = own.into_iter().chain(env.iter().cloned()).collect();
    let pid = spawn_here(argv, &changes, out_end.as_fd(), err_end.as_fd()).map_err(failed)?;
    drop((out_end, err_end));
    let mut pipes = [Some(out), Some(err)];
    let mut found = Output::default();
    let mut status = None;
    loop {
        drain(&mut pipes[0], &mut found.stdout, usize::MAX);
        drain(&mut pipes[1], &mut found.stderr, KEPT);
        reap(false, |one| {
            if one.pid == pid {
                status = Some(one.status);
            }
        });
        if let Some(status) = status {
            drain(&mut pipes[0], &mut found.stdout, usize::MAX);
            drain(&mut pipes[1], &mut found.stderr, KEPT);
            found.status = status;
            return Ok(found);
        }
        let fds = pipes.iter().flatten().map(AsFd::as_fd).chain([link.signals.as_fd(), link.control.as_fd()]);
        let mut fds: Vec<PollFd<'_>> = fds.map(|fd| PollFd::new(fd, PollFlags::POLLIN)).collect();
        let _ = poll(&mut fds, PollTimeout::NONE);
        link.control.fill();
        if link.signals.read().stop || !link.control.open {
            return Err(failed("the daemon is gone".to_owned()));
        }
    }
}

fn drain(pipe: &mut Option<OwnedFd>, into: &mut Vec<u8>, most: usize) {
    let mut chunk = vec![0; 64 << 10];
    while let Some(fd) = pipe {
        match read(&*fd, &mut chunk) {
            Ok(0) => *pipe = None,
            Ok(count) => {
                into.extend_from_slice(&chunk[..count]);
                if into.len() / 2 > most {
                    into.drain(..into.len() - most);
                }
            }
            Err(Errno::EAGAIN) => return,
            Err(Errno::EINTR) => {}
            Err(_) => *pipe = None,
        }
    }
}
