//! The daemon's end of a frame socket: a task that writes, a half to read from. Needs tokio.

use std::io::{self, IoSlice};
use std::os::fd::{AsRawFd, OwnedFd};

use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncReadExt, Interest};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;

use super::wire;

/// Frames are joined up to about this size before they are written.
const BATCH: usize = 64 << 10;

/// Room that every read has.
const CHUNK: usize = 64 << 10;

/// Something for the writing task.
pub(super) enum Outgoing {
    Frame(Vec<u8>, Vec<OwnedFd>),
    /// Close this direction, whoever still holds a sender.
    Close,
}

/// Puts messages on their way.
#[derive(Clone, Debug)]
pub(super) struct Sender(mpsc::UnboundedSender<Outgoing>);

impl Sender {
    /// Sends a message; fails when the socket is closed.
    pub(super) fn send<T: Serialize>(&self, message: &T, fds: Vec<OwnedFd>) -> io::Result<()> {
        let mut frame = Vec::new();
        wire::encode(&mut frame, message, &[])?;
        self.0.send(Outgoing::Frame(frame, fds)).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }

    /// Closes the socket for writing.
    pub(super) fn close(&self) {
        let _ = self.0.send(Outgoing::Close);
    }
}

/// Takes `stream` apart; the writing task ends with its last sender.
pub(super) fn open(stream: std::os::unix::net::UnixStream) -> io::Result<(Sender, Receiver)> {
    stream.set_nonblocking(true)?;
    let (read, write) = UnixStream::from_std(stream)?.into_split();
    let (sender, frames) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        // An error here is an end of file there: the reader tells.
        let _ = write_frames(&write, frames).await;
    });
    Ok((Sender(sender), Receiver { read, buffer: Vec::new(), consumed: 0 }))
}

async fn write_frames(write: &OwnedWriteHalf, mut frames: mpsc::UnboundedReceiver<Outgoing>) -> io::Result<()> {
    let mut open = true;
    while open {
        let Some(Outgoing::Frame(mut bytes, mut fds)) = frames.recv().await else {
            break;
        };
        // Descriptors may travel ahead of their frame, so frames can be joined; one set at a time.
        while fds.is_empty() && bytes.len() < BATCH {
            match frames.try_recv() {
                Ok(Outgoing::Frame(more, with)) => {
                    bytes.extend(more);
                    fds = with;
                }
                Ok(Outgoing::Close) => {
                    open = false;
                    break;
                }
                Err(_) => break,
            }
        }
        write_all(write, &bytes, fds).await?;
    }
    Ok(())
}

async fn write_all(write: &OwnedWriteHalf, bytes: &[u8], mut fds: Vec<OwnedFd>) -> io::Result<()> {
    let stream: &UnixStream = write.as_ref();
    let mut rest = bytes;
    while !rest.is_empty() {
        let raw: Vec<_> = fds.iter().map(AsRawFd::as_raw_fd).collect();
        let count = stream
            .async_io(Interest::WRITABLE, || {
                let rights = [ControlMessage::ScmRights(&raw)];
                let control = if raw.is_empty() { &[][..] } else { &rights[..] };
                let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
                let iov = [IoSlice::new(rest)];
                Ok(sendmsg::<()>(stream.as_raw_fd(), &iov, control, flags, None)?)
            })
            .await?;
        fds.clear();
        rest = &rest[count..];
    }
    Ok(())
}

/// Where messages come from.
#[derive(Debug)]
pub(super) struct Receiver {
    read: OwnedReadHalf,
    buffer: Vec<u8>,
    consumed: usize,
}

impl Receiver {
    /// The next message and its blob; none at the end of the file.
    pub(super) async fn next<T: DeserializeOwned>(&mut self) -> io::Result<Option<(T, Vec<u8>)>> {
        loop {
            if let Some((message, blob, used)) = wire::decode(&self.buffer[self.consumed..])? {
                let blob = blob.to_vec();
                self.consumed += used;
                return Ok(Some((message, blob)));
            }
            self.buffer.drain(..self.consumed);
            self.consumed = 0;
            if self.buffer.is_empty() && self.buffer.capacity() > 2 * CHUNK {
                self.buffer = Vec::new();
            }
            self.buffer.reserve(CHUNK);
            match self.read.read_buf(&mut self.buffer).await {
                Ok(0) => return Ok(None),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(None),
                Err(error) => return Err(error),
            }
        }
    }
}
