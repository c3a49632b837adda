//! A tap on a runner's stdout or stderr: reads without ever blocking the runner, keeps a bounded part.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::net::unix::pipe;

/// Most bytes kept of what one test prints past the framework's own capture, from its start and from its end.
const HALF: usize = 64 << 10;

#[derive(Debug, Default)]
struct Kept {
    head: Vec<u8>,
    tail: Vec<u8>,
    dropped: u64,
}

impl Kept {
    fn push(&mut self, bytes: &[u8]) {
        let room = HALF.saturating_sub(self.head.len()).min(bytes.len());
        self.head.extend_from_slice(&bytes[..room]);
        self.tail.extend_from_slice(&bytes[room..]);
        if self.tail.len() > 2 * HALF {
            let extra = self.tail.len() - HALF;
            self.tail.drain(..extra);
            self.dropped += extra as u64;
        }
    }
}

/// One pipe being read.
#[derive(Clone, Debug)]
pub struct Tap {
    pipe: Arc<pipe::Receiver>,
    kept: Arc<Mutex<Kept>>,
}

impl Tap {
    /// Makes a pipe; returns the end for the runner.
    ///
    /// # Errors
    /// No pipe is to be had.
    pub fn open() -> io::Result<(Self, OwnedFd)> {
        let (read, write) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC)?;
        nix::fcntl::fcntl(&read, nix::fcntl::FcntlArg::F_SETFL(nix::fcntl::OFlag::O_NONBLOCK))?;
        let tap = Self { pipe: Arc::new(pipe::Receiver::from_owned_fd(read)?), kept: Arc::default() };
        let reader = tap.clone();
        tokio::spawn(async move { while reader.pipe.readable().await.is_ok() && reader.drain() {} });
        Ok((tap, write))
    }

    /// Reads what is there; `false` at the end.
    fn drain(&self) -> bool {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let mut buffer = [0; 32 << 10];
        loop {
            match self.pipe.try_read(&mut buffer) {
                Ok(0) => return false,
                Ok(n) => kept.push(&buffer[..n]),
                Err(e) => return e.kind() == io::ErrorKind::WouldBlock,
            }
        }
    }

    /// Takes what was printed since the last time: text, and how many bytes were not kept. `None`: nothing.
    #[must_use]
    pub fn take(&self) -> Option<(String, u64)> {
        self.drain();
        let kept = std::mem::take(&mut *self.kept.lock().unwrap_or_else(PoisonError::into_inner));
        if kept.head.is_empty() {
            return None;
        }
        let mut bytes = kept.head;
        bytes.extend(kept.tail);
        Some((String::from_utf8_lossy(&bytes).into_owned(), kept.dropped))
    }

    /// The last lines of what it printed since its last result.
    #[must_use]
    pub fn peek(&self, lines: usize) -> String {
        self.drain();
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes = if kept.tail.is_empty() { &kept.head } else { &kept.tail };
        let text = String::from_utf8_lossy(bytes).into_owned();
        let all: Vec<&str> = text.lines().collect();
        all[all.len().saturating_sub(lines)..].join("\n")
    }
}
