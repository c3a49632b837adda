//! One end of a frame socket in a process that must never wait for its peer: warden and keepers.
//!
//! Reads and writes what the socket takes without blocking; the owner polls. Descriptors arrive with the
//! first byte of their frame at the latest, so taking them in order gives each frame its own.

use std::collections::VecDeque;
use std::io::{self, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg, send};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::wire;

/// As many descriptors as the kernel lets through at once.
const MAX_FDS: usize = 253;

/// Bytes read at once.
const CHUNK: usize = 16 << 10;

/// Buffers above this are given back when they are empty.
const KEEP: usize = 64 << 10;

/// Whether the peer is still there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Peer {
    Open,
    Closed,
}

/// A frame socket with its buffers.
#[derive(Debug)]
pub(super) struct Channel {
    fd: OwnedFd,
    input: Vec<u8>,
    consumed: usize,
    fds: VecDeque<OwnedFd>,
    output: Vec<u8>,
    written: usize,
}

impl Channel {
    pub(super) fn new(fd: OwnedFd) -> Self {
        let (input, output) = (Vec::new(), Vec::new());
        Self { fd, input, consumed: 0, fds: VecDeque::new(), output, written: 0 }
    }

    /// Bytes that wait for the peer to read.
    pub(super) fn pending(&self) -> usize {
        self.output.len() - self.written
    }

    /// Reads what has arrived, up to a bound that keeps the owner responsive.
    pub(super) fn fill(&mut self) -> io::Result<Peer> {
        let mut chunk = [0; CHUNK];
        for _ in 0..16 {
            let mut iov = [IoSliceMut::new(&mut chunk)];
            let mut space = nix::cmsg_space!([RawFd; MAX_FDS]);
            let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_CMSG_CLOEXEC;
            let message = match recvmsg::<()>(self.fd.as_raw_fd(), &mut iov, Some(&mut space), flags) {
                Ok(message) => message,
                Err(Errno::EAGAIN) => break,
                Err(Errno::EINTR) => continue,
                Err(Errno::ECONNRESET) => return Ok(Peer::Closed),
                Err(error) => return Err(error.into()),
            };
            for control in message.cmsgs()? {
                if let ControlMessageOwned::ScmRights(fds) = control {
                    // SAFETY: the kernel has just made these descriptors for this process.
                    let owned = fds.into_iter().map(|fd| unsafe { OwnedFd::from_raw_fd(fd) });
                    self.fds.extend(owned);
                }
            }
            let count = message.bytes;
            if count == 0 {
                return Ok(Peer::Closed);
            }
            self.input.extend_from_slice(&chunk[..count]);
            if count < CHUNK {
                break;
            }
        }
        Ok(Peer::Open)
    }

    /// The next complete message. Peers send no blobs in this direction.
    pub(super) fn next<T: DeserializeOwned>(&mut self) -> io::Result<Option<T>> {
        if let Some((message, _, used)) = wire::decode(&self.input[self.consumed..])? {
            self.consumed += used;
            return Ok(Some(message));
        }
        self.input.drain(..self.consumed);
        self.consumed = 0;
        if self.input.is_empty() && self.input.capacity() > KEEP {
            self.input = Vec::new();
        }
        Ok(None)
    }

    /// The next `count` descriptors that came with a frame.
    pub(super) fn take_fds(&mut self, count: usize) -> io::Result<Vec<OwnedFd>> {
        if count > self.fds.len() {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a descriptor did not arrive"));
        }
        Ok(self.fds.drain(..count).collect())
    }

    /// Appends a frame to what is to be written.
    pub(super) fn push<T: Serialize>(&mut self, message: &T, blob: &[u8]) -> io::Result<()> {
        wire::encode(&mut self.output, message, blob)
    }

    /// Writes what the socket takes.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
        while self.pending() > 0 {
            match send(self.fd.as_raw_fd(), &self.output[self.written..], flags) {
                Ok(count) => self.written += count,
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => break,
                Err(error) => return Err(error.into()),
            }
        }
        // Also if some is left: otherwise a peer that is always a little behind would let it grow.
        if self.written > self.output.len() / 2 {
            self.output.drain(..self.written);
            self.written = 0;
        }
        if self.output.is_empty() && self.output.capacity() > KEEP {
            self.output = Vec::new();
        }
        Ok(())
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
