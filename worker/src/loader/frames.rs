//! Length-prefixed JSON over a socket, with descriptors attached where a message carries some.

use std::io::{self, IoSlice};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;

use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use tokio::io::{AsyncReadExt, BufReader, Interest};
use tokio::net::unix::OwnedReadHalf;
use tokio::sync::mpsc;

use super::messages::{FromRunner, ToRunner};

/// A longer message is none of ours.
const MOST_BYTES: u32 = 256 << 20;

type Outgoing = (Vec<u8>, Vec<OwnedFd>);

/// The sending side; queued, never blocks.
#[derive(Clone, Debug)]
pub struct FrameSender(mpsc::UnboundedSender<Outgoing>);

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
pub struct FrameReceiver(BufReader<OwnedReadHalf>);

impl FrameReceiver {
    /// The next message; `None` at the end, or when what comes is not our protocol.
    pub async fn next(&mut self) -> Option<FromRunner> {
        let len = self.0.read_u32().await.ok()?;
        if len > MOST_BYTES {
            tracing::warn!(len, "a runner sent an impossible frame");
            return None;
        }
        let mut bytes = vec![0; len as usize];
        self.0.read_exact(&mut bytes).await.ok()?;
        match serde_json::from_slice(&bytes) {
            Ok(message) => Some(message),
            Err(error) => {
                tracing::warn!(%error, message = %String::from_utf8_lossy(&bytes[..bytes.len().min(200)]), "a runner sent what is not our protocol");
                None
            }
        }
    }
}

/// Splits a connected socket.
///
/// # Errors
/// The socket cannot be used by the runtime.
pub fn open(stream: UnixStream) -> io::Result<(FrameSender, FrameReceiver)> {
    stream.set_nonblocking(true)?;
    let (read, write) = tokio::net::UnixStream::from_std(stream)?.into_split();
    let (sender, mut outgoing) = mpsc::unbounded_channel::<Outgoing>();
    tokio::spawn(async move {
        while let Some((bytes, fds)) = outgoing.recv().await {
            if let Err(error) = write_all(write.as_ref(), &bytes, fds).await {
                tracing::debug!(%error, "a runner does not read any more");
                return;
            }
        }
    });
    Ok((FrameSender(sender), FrameReceiver(BufReader::with_capacity(64 << 10, read))))
}

/// Writes all bytes; descriptors go with the first.
async fn write_all(stream: &tokio::net::UnixStream, bytes: &[u8], fds: Vec<OwnedFd>) -> io::Result<()> {
    let raw: Vec<RawFd> = fds.iter().map(AsRawFd::as_raw_fd).collect();
    let mut at = 0;
    while at < bytes.len() {
        let attach = if at == 0 && !raw.is_empty() { vec![ControlMessage::ScmRights(&raw)] } else { Vec::new() };
        at += stream
            .async_io(Interest::WRITABLE, || {
                let flags = MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT;
                sendmsg::<()>(stream.as_raw_fd(), &[IoSlice::new(&bytes[at..])], &attach, flags, None)
                    .map_err(io::Error::from)
            })
            .await?;
    }
    Ok(())
}
