//! Live output: while somebody looks at a job, what its commands print, and its runners past their framework's capture,
//! is sent on as it comes.
//!
//! Only for looking: it may lose pieces in an outage, never delays an attempt, and the whole (bounded) output comes
//! with the result anyway.

use std::collections::HashMap;

use remuda_store::{Logged, Store, StoreError};
use tokio::sync::mpsc;

use super::Daemon;
use super::slots::Assignment;
use crate::loader::tap::Taken;
use crate::warden::Stream;

/// Pieces that wait for the server; beyond it they are dropped.
const PIECES: usize = 256;
/// Standard output and standard error in the store's words.
const STREAMS: [&str; 2] = ["o", "e"];

/// One piece of output on its way.
#[derive(Debug)]
struct Piece {
    fence: u64,
    task: u32,
    stream: &'static str,
    bytes: Vec<u8>,
}

/// Sends pieces, in order.
#[derive(Debug)]
pub(super) struct Live {
    pieces: mpsc::Sender<Piece>,
    /// Jobs that somebody looks at, by the last beat.
    watched: Vec<String>,
}

impl Live {
    pub(super) fn new(store: Store) -> Self {
        let (pieces, mut outgoing) = mpsc::channel::<Piece>(PIECES);
        tokio::spawn(async move {
            let mut offsets: HashMap<(u64, u32), u64> = HashMap::new();
            while let Some(piece) = outgoing.recv().await {
                let of = (piece.fence, piece.task);
                match send(&store, &piece, offsets.get(&of).copied().unwrap_or(0)).await {
                    Ok(Some(next)) => _ = offsets.insert(of, next),
                    Ok(None) => _ = offsets.remove(&of),
                    Err(error) => tracing::debug!(%error, "live output was dropped"),
                }
                if offsets.len() > PIECES {
                    offsets.clear();
                }
            }
        });
        Self { pieces, watched: Vec::new() }
    }

    fn show(&self, of: &Assignment, stream: &'static str, bytes: Vec<u8>) {
        if !bytes.is_empty() {
            let _ = self.pieces.try_send(Piece { fence: of.fence, task: of.task, stream, bytes });
        }
    }
}

/// Sends a piece; returns the offset of the next one, or nothing if the attempt is not ours any more. Where `offset` has
/// been forgotten, or the server has, its answer says where the piece goes.
async fn send(store: &Store, piece: &Piece, offset: u64) -> Result<Option<u64>, StoreError> {
    let length = piece.bytes.len() as u64;
    let mut at = offset;
    for _ in 0..2 {
        match store.log(piece.fence, piece.task, at, piece.stream, &piece.bytes).await? {
            Logged::Stale => return Ok(None),
            Logged::Ok(next) if next == at + length => return Ok(Some(next)),
            Logged::Ok(next) | Logged::Gap(next) => at = next,
        }
    }
    Ok(Some(at))
}

impl Daemon {
    /// The beat told who is looked at: switches the keepers of what runs.
    pub(super) fn watch_live(&mut self, watched: Vec<String>) {
        if watched == self.live.watched {
            return;
        }
        self.live.watched = watched;
        for slot in &self.slots {
            if let (Some(keeper), Some(running)) = (&slot.keeper, slot.running())
                && let Some(unit) = running.sent
                && slot.runner.is_none()
            {
                let _ = keeper.live(unit, self.is_watched(&running.job));
            }
        }
    }

    pub(super) fn is_watched(&self, job: &str) -> bool {
        self.live.watched.iter().any(|w| w == job)
    }

    pub(super) fn on_live_output(&mut self, slot: u32, unit: u64, stream: Stream, bytes: Vec<u8>) {
        let Some(assignment) = self.slots[slot as usize].queue.iter().find(|a| a.sent == Some(unit)) else { return };
        let stream = if stream == Stream::Err { "e" } else { "o" };
        self.live.show(assignment, stream, bytes);
    }

    /// What runners have printed since the last look.
    pub(super) fn tick_live(&self) {
        for slot in &self.slots {
            let (Some(runner), Some(running)) = (&slot.runner, slot.running()) else { continue };
            let watched = self.is_watched(&running.job);
            for (tap, stream) in runner.taps.iter().zip(STREAMS) {
                tap.show(watched);
                if watched {
                    self.live.show(running, stream, tap.unseen());
                }
            }
        }
    }

    /// A test has ended: what it printed and nobody has seen yet.
    pub(super) fn show_rest(&self, done: &Assignment, printed: &[Taken; 2]) {
        for (taken, stream) in printed.iter().zip(STREAMS) {
            self.live.show(done, stream, taken.unseen.clone());
        }
    }
}
