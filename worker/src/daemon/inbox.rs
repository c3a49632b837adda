//! The daemon's inbox: every message there is, and the listeners that send the ones from outside.

use std::io;
use std::time::Duration;

use remuda_protocol::spec::JobSpec;
use remuda_store::{Bell, NextCall, NextReply, Refused, Store, StoreError};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};

use super::aside::Question;
use crate::heartbeat::Pulse;
use crate::loader::messages::FromRunner;
use crate::warden::KeeperEvent;

/// Most messages handled before the loop looks around.
const BATCH: usize = 256;
/// A blocked bell looks up after this time even if nobody rings.
const BELL: Duration = Duration::from_secs(8);

/// Everything that can happen to the daemon.
#[derive(Debug)]
pub(super) enum Message {
    /// `next` was answered (or its worker is unknown), and when it was first sent, boot-time ms.
    Next(Box<NextCall>, u64, Result<NextReply, StoreError>),
    /// Of the keeper of a slot.
    Keeper(u32, KeeperEvent),
    /// Of the keeper of a loader.
    Loader(u64, KeeperEvent),
    /// Of a loader, `None` at its end.
    Control(u64, Option<FromRunner>),
    /// Of a slot's runner of one generation, `None` at its end.
    Runner(u32, u64, Option<FromRunner>),
    /// A loader's manifest was added, or why not.
    Added(u64, Result<u32, String>),
    /// A job's spec was read.
    Spec(String, Result<JobSpec, StoreError>),
    /// Whether others can run what cannot be run here.
    Refused(Question, Result<Refused, StoreError>),
    /// A beat was answered.
    Pulse(Pulse),
    /// A word on the control channel.
    Word(String),
    /// A closing report was delivered.
    Reported,
    /// Work may be there.
    Bell,
    /// A signal.
    Signal(Signal),
}

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Signal {
    /// Finish and leave; said twice: now.
    Terminate,
    /// Tell what runs.
    Status,
}

/// The receiving side, in batches.
pub(super) struct Inbox(UnboundedReceiver<Message>);

impl Inbox {
    pub(super) fn new(receiver: UnboundedReceiver<Message>) -> Self {
        Self(receiver)
    }

    /// What has come, after at most `wait`.
    pub(super) async fn some(&mut self, wait: Duration) -> Vec<Message> {
        let mut batch = Vec::new();
        let _ = tokio::time::timeout(wait, self.0.recv_many(&mut batch, BATCH)).await;
        batch
    }
}

/// Waits at the bell for as long as the daemon lives.
pub(super) fn ring(mut bell: Bell, to: UnboundedSender<Message>) {
    tokio::spawn(async move {
        while !to.is_closed() {
            if bell.wait(BELL).await && to.send(Message::Bell).is_err() {
                return;
            }
        }
    });
}

/// Listens to the control channel, again and again; a missed word is found by the next beat.
pub(super) fn control(store: Store, to: UnboundedSender<Message>) {
    tokio::spawn(async move {
        while !to.is_closed() {
            if let Ok(mut words) = store.control().await {
                while let Some(message) = words.next().await {
                    if let remuda_store::Message::Control(word) = message
                        && to.send(Message::Word(word)).is_err()
                    {
                        return;
                    }
                }
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    });
}

/// Turns signals into messages.
pub(super) fn signals(to: &UnboundedSender<Message>) -> io::Result<()> {
    let kinds = [
        (SignalKind::terminate(), Signal::Terminate),
        (SignalKind::interrupt(), Signal::Terminate),
        (SignalKind::user_defined1(), Signal::Status),
        (SignalKind::user_defined2(), Signal::Status),
    ];
    for (kind, meaning) in kinds {
        let mut stream = signal(kind)?;
        let to = to.clone();
        tokio::spawn(
            async move { while stream.recv().await.is_some() && to.send(Message::Signal(meaning)).is_ok() {} },
        );
    }
    Ok(())
}
