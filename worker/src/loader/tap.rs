//! A tap on a runner's stdout or stderr: reads without ever blocking the runner, keeps a bounded part, and sets aside
//! for whoever looks on what has not been shown yet. Must not know whose output it is.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::net::unix::pipe;

/// Most bytes kept of what one test prints past the framework's own capture, from its start and from its end.
const HALF: usize = 64 << 10;

/// What one test printed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// As text.
    pub text: String,
    /// Bytes that were not kept.
    pub dropped: u64,
    /// What of it has not been shown yet, if somebody looks on.
    pub unseen: Vec<u8>,
}

#[derive(Debug, Default)]
struct Kept {
    head: Vec<u8>,
    tail: Vec<u8>,
    dropped: u64,
    /// Not shown yet, while somebody looks.
    live: Option<Vec<u8>>,
}

impl Kept {
    fn push(&mut self, bytes: &[u8]) {
        if let Some(live) = self.live.as_mut().filter(|live| live.len() < 2 * HALF) {
            live.extend_from_slice(bytes);
        }
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
        let mut buffer = [0; 4 << 10]; // mostly there is nothing
        loop {
            match self.pipe.try_read(&mut buffer) {
                Ok(0) => return false,
                Ok(n) => kept.push(&buffer[..n]),
                Err(e) => return e.kind() == io::ErrorKind::WouldBlock,
            }
        }
    }

    /// Whether somebody looks on: from now on, and at what the test in hand has printed so far.
    pub fn show(&self, on: bool) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        match (on, kept.live.is_some()) {
            (true, false) => kept.live = Some([kept.head.as_slice(), kept.tail.as_slice()].concat()),
            (false, true) => kept.live = None,
            _ => {}
        }
    }

    /// Takes what has not been shown yet.
    #[must_use]
    pub fn unseen(&self) -> Vec<u8> {
        self.drain();
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).live.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// Takes what was printed since the last time.
    #[must_use]
    pub fn take(&self) -> Taken {
        self.drain();
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let live = kept.live.as_ref().map(|_| Vec::new());
        let taken = std::mem::replace(&mut *kept, Kept { live, ..Kept::default() });
        let bytes = [taken.head, taken.tail].concat();
        Taken {
            text: String::from_utf8_lossy(&bytes).into_owned(),
            dropped: taken.dropped,
            unseen: taken.live.unwrap_or_default(),
        }
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
