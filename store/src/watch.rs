//! Subscriptions: a job's events and live output, and the farm's control channel. Only for looking: a reader that
//! misses something (`None`, or a gap in the numbers) repairs it with [`Store::events_after`].

use std::pin::Pin;

use futures_util::{Stream, StreamExt};
use remuda_protocol::event::Sequence;

use crate::connection::Store;
use crate::error::StoreError;
use crate::reply::{list, pairs, text};

/// Batches of events read in one go: a batch may have hundreds of results, each with some 100 KiB to tell.
const PART: usize = 40;

/// What came over a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// A batch of a job's events.
    Events(Sequence, String),
    /// Live output.
    Output {
        /// Group number.
        group: u32,
        /// Task number.
        task: u32,
        /// Fence of the attempt.
        fence: u64,
        /// `o` or `e`.
        stream: String,
        /// Where it begins in all that the attempt has shown so far.
        offset: u64,
        /// The bytes.
        bytes: Vec<u8>,
    },
    /// A control word, `cancel JOB` or `drain WORKER`.
    Control(String),
}

/// Messages until the connection breaks.
pub struct Subscription {
    messages: Pin<Box<dyn Stream<Item = redis::Msg> + Send>>,
    events: String,
    live: String,
}

impl Subscription {
    /// The next message; `None` when the connection broke: subscribe again and repair.
    pub async fn next(&mut self) -> Option<Message> {
        loop {
            let message = self.messages.next().await?;
            if let Some(parsed) = self.parse(&message) {
                return Some(parsed);
            }
        }
    }

    fn parse(&self, message: &redis::Msg) -> Option<Message> {
        let (channel, bytes) = (message.get_channel_name(), message.get_payload_bytes());
        if channel == self.events {
            let payload = String::from_utf8_lossy(bytes);
            if payload == "report" {
                return Some(Message::Control(payload.into_owned()));
            }
            let (sequence, batch) = payload.split_once('\n')?;
            return Some(Message::Events(Sequence::parse(sequence)?, batch.to_owned()));
        }
        if channel == self.live {
            let end = bytes.iter().position(|b| *b == b'\n')?;
            let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
            let mut words = head.split(' ');
            return Some(Message::Output {
                group: words.next()?.parse().ok()?,
                task: words.next()?.parse().ok()?,
                fence: words.next()?.parse().ok()?,
                stream: words.next()?.to_owned(),
                offset: words.next()?.parse().ok()?,
                bytes: bytes[end + 1..].to_vec(),
            });
        }
        Some(Message::Control(String::from_utf8_lossy(bytes).into_owned()))
    }
}

impl Store {
    /// Subscribes to a job's events, and to its live output if `live`.
    ///
    /// # Errors
    /// The server's.
    pub async fn watch(&self, job: &str, live: bool) -> Result<Subscription, StoreError> {
        let (events, output) = (self.keys().events(job), self.keys().live(job));
        let channels = if live { vec![events.clone(), output.clone()] } else { vec![events.clone()] };
        self.subscribe(&channels, events, output).await
    }

    /// Subscribes to the control channel.
    ///
    /// # Errors
    /// The server's.
    pub async fn control(&self) -> Result<Subscription, StoreError> {
        self.subscribe(&[self.keys().control()], String::new(), String::new()).await
    }

    /// Asks all workers to beat at once, so that what they say of themselves is new.
    ///
    /// # Errors
    /// The server's.
    pub async fn call_for_beats(&self) -> Result<(), StoreError> {
        self.read("control", redis::pipe().publish(self.keys().control(), "look")).await.map(drop)
    }

    async fn subscribe(&self, channels: &[String], events: String, live: String) -> Result<Subscription, StoreError> {
        let mut pubsub = self.client().get_async_pubsub().await.map_err(|e| self.refusal(&e))?;
        for channel in channels {
            pubsub.subscribe(channel).await.map_err(|e| self.refusal(&e))?;
        }
        Ok(Subscription { messages: Box::pin(pubsub.into_on_message()), events, live })
    }

    /// Batches after `from`, oldest first, at most a part of them. If the first does not follow `from`, the stream was trimmed:
    /// reload from a snapshot.
    ///
    /// # Errors
    /// The server's.
    pub async fn events_after(&self, job: &str, from: Sequence) -> Result<Vec<(Sequence, String)>, StoreError> {
        let mut pipe = redis::pipe();
        pipe.cmd("XRANGE").arg(self.keys().events(job)).arg(format!("({from}")).arg("+").arg("COUNT").arg(PART);
        let entries = self.read("events", &pipe).await?.into_iter().next().map(list).unwrap_or_default();
        Ok(entries.into_iter().filter_map(stream_entry).collect())
    }
}

fn stream_entry(entry: redis::Value) -> Option<(Sequence, String)> {
    let mut parts = list(entry).into_iter();
    let sequence = Sequence::parse(&text(&parts.next()?))?;
    let (_, batch) = pairs(parts.next()?).into_iter().find(|(k, _)| k == "e")?;
    Some((sequence, text(&batch)))
}
