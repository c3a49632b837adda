//! Frames on a connected socket: 4-byte big-endian length, then JSON. Reads what is there, writes until it is written.

use std::collections::VecDeque;
use std::io::{self, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg, send};
use serde_json::Value;

/// A longer message is none of ours: the manifest of a million tests is shorter.
const MOST_BYTES: usize = 256 << 20;
const CHUNK: usize = 64 << 10;
/// Most descriptors that come with one message.
const MOST_FDS: usize = 16;

/// One end of a connection.
#[derive(Debug)]
pub(crate) struct Socket {
    fd: OwnedFd,
    input: Vec<u8>,
    fds: VecDeque<OwnedFd>,
    /// Until the other side has closed it.
    pub(crate) open: bool,
}

impl Socket {
    pub(crate) fn new(fd: impl Into<OwnedFd>) -> Self {
        Self { fd: fd.into(), input: Vec::new(), fds: VecDeque::new(), open: true }
    }

    /// Reads all that has arrived.
    pub(crate) fn fill(&mut self) {
        let mut chunk = vec![0; CHUNK];
        while self.open && self.input.len() < 4 + MOST_BYTES {
            let mut parts = [IoSliceMut::new(&mut chunk)];
            let mut space = nix::cmsg_space!([RawFd; MOST_FDS]);
            let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_CMSG_CLOEXEC;
            match recvmsg::<()>(self.fd.as_raw_fd(), &mut parts, Some(&mut space), flags) {
                Ok(message) => {
                    for control in message.cmsgs().into_iter().flatten() {
                        if let ControlMessageOwned::ScmRights(fds) = control {
                            // SAFETY: the kernel has just made these descriptors for this process.
                            self.fds.extend(fds.into_iter().map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }));
                        }
                    }
                    let count = message.bytes;
                    self.open = count > 0;
                    self.input.extend_from_slice(&chunk[..count]);
                }
                Err(Errno::EAGAIN) => return,
                Err(Errno::EINTR) => {}
                Err(_) => self.open = false,
            }
        }
    }

    /// The next complete message. The error says what came instead, as the end of a sentence: "sent …".
    pub(crate) fn next(&mut self) -> Result<Option<Value>, String> {
        let Some(header) = self.input.first_chunk::<4>() else { return Ok(None) };
        let len = u32::from_be_bytes(*header) as usize;
        if len > MOST_BYTES {
            return Err(format!("sent a message of {len} bytes (at most {MOST_BYTES} are possible)"));
        }
        let Some(body) = self.input.get(4..4 + len) else { return Ok(None) };
        let message = serde_json::from_slice(body)
            .map_err(|error| format!("sent what is not JSON ({error}): {}", shown(body)))?;
        self.input.drain(..4 + len);
        Ok(Some(message))
    }

    /// The next `count` descriptors that came with a message.
    pub(crate) fn take_fds(&mut self, count: usize) -> Option<Vec<OwnedFd>> {
        (self.fds.len() >= count).then(|| self.fds.drain(..count).collect())
    }

    /// Writes a message.
    pub(crate) fn send(&self, message: &Value) -> io::Result<()> {
        let json = serde_json::to_vec(message)?;
        let len = u32::try_from(json.len()).map_err(|_| io::Error::other("a message is too long"))?;
        let mut frame = len.to_be_bytes().to_vec();
        frame.extend(json);
        let mut at = 0;
        while at < frame.len() {
            match send(self.fd.as_raw_fd(), &frame[at..], MsgFlags::MSG_NOSIGNAL) {
                Ok(count) => at += count,
                Err(Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// The start of something unreadable.
pub(crate) fn shown(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[..bytes.len().min(200)]).into_owned()
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::net::UnixStream;

    use super::*;

    fn after(bytes: &[u8]) -> Socket {
        let (mut theirs, ours) = UnixStream::pair().unwrap();
        theirs.write_all(bytes).unwrap();
        let mut socket = Socket::new(ours);
        socket.fill();
        socket
    }

    #[test]
    fn a_message_is_read_when_it_is_whole() {
        let mut socket = after(b"\0\0\0\x02{}\0\0\0\x02{");
        assert_eq!(socket.next(), Ok(Some(serde_json::json!({}))));
        assert_eq!(socket.next(), Ok(None));
        socket.fill();
        assert!(!socket.open);
    }

    #[test]
    fn huge_frames_and_garbage_are_named() {
        assert!(after(b"HTTP/1.1 200").next().unwrap_err().contains("sent a message of 1213486160 bytes"));
        assert!(after(b"\0\0\0\x02no").next().unwrap_err().ends_with(": no"));
    }
}
