//! Length-prefixed JSON over a socket, with descriptors attached where a message carries some.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::net::Shutdown;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, mpsc as blocking};
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{ControlMessage, MsgFlags, recv, sendmsg};
use tokio::sync::mpsc;

use super::messages::{FromRunner, ToRunner};

/// A longer message is none of ours.
const MOST_BYTES: u32 = 256 << 20;
/// How long a reader rests after each look. A runner of short tests sends thousands of results a second: waking up for
/// each of them costs more than the tests.
const REST: Duration = Duration::from_millis(3);
/// The same after a look that found many, and how many that is.
const LONG_REST: Duration = Duration::from_millis(10);
const MANY: usize = 4;
/// Bytes read at once.
const PIECE: usize = 64 << 10;

type Outgoing = (Vec<u8>, Vec<OwnedFd>);

/// The sending side; queued, never blocks.
#[derive(Clone, Debug)]
pub struct FrameSender(blocking::Sender<Outgoing>);

impl FrameSender {
    /// Queues a message. If the other side is gone it is dropped: its end is reported elsewhere.
    pub fn send(&self, message: &ToRunner<'_>, fds: Vec<OwnedFd>) {
        let json = serde_json::to_vec(message).unwrap_or_default();
        let mut frame = u32::try_from(json.len()).unwrap_or(u32::MAX).to_be_bytes().to_vec();
        frame.extend(json);
        let _ = self.0.send((frame, fds));
    }
}

/// The receiving side.
#[derive(Debug)]
pub struct FrameReceiver {
    batches: mpsc::UnboundedReceiver<Vec<FromRunner>>,
    waiting: VecDeque<FromRunner>,
}

impl FrameReceiver {
    /// The next message; `None` at the end, or when what comes is not our protocol.
    pub async fn next(&mut self) -> Option<FromRunner> {
        while self.waiting.is_empty() {
            self.waiting.extend(self.batches.recv().await?);
        }
        self.waiting.pop_front()
    }
}

/// Splits a connected socket. Both sides have threads of their own, which must not be the runtime's: its event loop
/// would be woken for every single message.
///
/// # Errors
/// There is no thread.
pub fn open(stream: UnixStream) -> io::Result<(FrameSender, FrameReceiver)> {
    stream.set_nonblocking(true)?;
    let stream = Arc::new(stream);
    let (sender, outgoing) = blocking::channel::<Outgoing>();
    let (to, batches) = mpsc::unbounded_channel();
    let thread = || std::thread::Builder::new().name("frames".into());
    let ours = stream.clone();
    thread().spawn(move || write_all(&stream, &outgoing))?;
    thread().spawn(move || read_all(&ours, &to))?;
    Ok((FrameSender(sender), FrameReceiver { batches, waiting: VecDeque::new() }))
}

/// Reads until the other side ends, or nobody listens any more.
fn read_all(stream: &UnixStream, to: &mpsc::UnboundedSender<Vec<FromRunner>>) {
    let (mut buffer, mut piece) = (Vec::new(), vec![0; PIECE]);
    while let Some(read) = read_some(stream, &mut piece) {
        buffer.extend_from_slice(&piece[..read]);
        let Some(messages) = take_frames(&mut buffer) else { return };
        let rest = if messages.len() < MANY { REST } else { LONG_REST };
        if !messages.is_empty() && to.send(messages).is_err() {
            return;
        }
        if read < PIECE {
            #[expect(clippy::disallowed_methods, reason = "a thread of its own, which rests on purpose")]
            std::thread::sleep(rest);
        }
    }
}

/// What there is, once there is something; `None` at the end.
fn read_some(stream: &UnixStream, piece: &mut [u8]) -> Option<usize> {
    loop {
        match recv(stream.as_raw_fd(), piece, MsgFlags::MSG_DONTWAIT) {
            Ok(0) => return None,
            Ok(read) => return Some(read),
            Err(Errno::EAGAIN) => {
                let _ = poll(&mut [PollFd::new(stream.as_fd(), PollFlags::POLLIN)], PollTimeout::NONE);
            }
            Err(Errno::EINTR) => {}
            Err(_) => return None,
        }
    }
}

/// Takes the complete frames out of `buffer`; `None` if what came is not our protocol.
fn take_frames(buffer: &mut Vec<u8>) -> Option<Vec<FromRunner>> {
    let (mut found, mut at) = (Vec::new(), 0);
    while let Some(head) = buffer.get(at..at + 4) {
        let len = u32::from_be_bytes([head[0], head[1], head[2], head[3]]);
        if len > MOST_BYTES {
            tracing::warn!(len, "a runner sent an impossible frame");
            return None;
        }
        let Some(body) = buffer.get(at + 4..at + 4 + len as usize) else { break };
        match serde_json::from_slice(body) {
            Ok(message) => found.push(message),
            Err(error) => {
                tracing::warn!(%error, message = %String::from_utf8_lossy(&body[..body.len().min(200)]), "a runner sent what is not our protocol");
                return None;
            }
        }
        at += 4 + len as usize;
    }
    buffer.drain(..at);
    Some(found)
}

/// Writes until nobody sends any more: the other side then reads the end.
fn write_all(stream: &UnixStream, outgoing: &blocking::Receiver<Outgoing>) {
    for (bytes, fds) in outgoing {
        if let Err(error) = write_frame(stream, &bytes, &fds) {
            tracing::debug!(%error, "a runner does not read any more");
            break;
        }
    }
    let _ = stream.shutdown(Shutdown::Write);
}

/// Writes all bytes; descriptors go with the first.
fn write_frame(stream: &UnixStream, bytes: &[u8], fds: &[OwnedFd]) -> Result<(), Errno> {
    let raw: Vec<RawFd> = fds.iter().map(AsRawFd::as_raw_fd).collect();
    let mut at = 0;
    while at < bytes.len() {
        let attach = if at == 0 && !raw.is_empty() { vec![ControlMessage::ScmRights(&raw)] } else { Vec::new() };
        let flags = MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT;
        match sendmsg::<()>(stream.as_raw_fd(), &[IoSlice::new(&bytes[at..])], &attach, flags, None) {
            Ok(written) => at += written,
            Err(Errno::EAGAIN) => {
                let _ = poll(&mut [PollFd::new(stream.as_fd(), PollFlags::POLLOUT)], PollTimeout::NONE);
            }
            Err(Errno::EINTR) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(json: &str) -> Vec<u8> {
        let mut bytes = u32::try_from(json.len()).unwrap().to_be_bytes().to_vec();
        bytes.extend(json.as_bytes());
        bytes
    }

    #[test]
    fn frames_may_come_in_any_pieces() {
        let mut all = frame(r#"{"type":"done"}"#);
        all.extend(frame(r#"{"type":"started","test":7}"#));
        let (mut buffer, mut found) = (Vec::new(), 0);
        for byte in all {
            buffer.push(byte);
            found += take_frames(&mut buffer).unwrap().len();
        }
        assert_eq!((found, buffer.len()), (2, 0));
    }

    #[test]
    fn what_is_not_our_protocol_ends_it() {
        assert!(take_frames(&mut frame("nonsense")).is_none());
        assert!(take_frames(&mut vec![0xff; 8]).is_none());
    }
}
