//! Output in bounded memory: the first `head` and the last `tail` bytes of a unit, over both streams.
//!
//! Pure: bytes and times come in as arguments. The keeper feeds it; the daemon may use it for pipes of
//! its own. It must not look into the bytes: output is not text.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

/// More pieces than this in head or tail are treated like too many bytes.
const MAX_PIECES: usize = 8192;

/// Where a piece of output came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "u8", from = "u8")]
pub enum Stream {
    /// Nowhere: the piece stands for bytes that were dropped here, and are not in the output.
    Dropped,
    /// Standard output.
    Out,
    /// Standard error.
    Err,
}

impl From<Stream> for u8 {
    fn from(stream: Stream) -> Self {
        match stream {
            Stream::Dropped => 0,
            Stream::Out => 1,
            Stream::Err => 2,
        }
    }
}

impl From<u8> for Stream {
    fn from(number: u8) -> Self {
        match number {
            1 => Self::Out,
            2 => Self::Err,
            _ => Self::Dropped,
        }
    }
}

/// A run of bytes of one stream; on the wire `[stream, ms, len]` with 1 for stdout, 2 for stderr, and 0
/// where `len` bytes were dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "(Stream, u64, u64)", from = "(Stream, u64, u64)")]
pub struct Piece {
    /// Its stream.
    pub stream: Stream,
    /// Milliseconds from the start of the unit to the arrival of its first byte.
    pub ms: u64,
    /// Its length in bytes.
    pub len: u64,
}

impl From<Piece> for (Stream, u64, u64) {
    fn from(piece: Piece) -> Self {
        (piece.stream, piece.ms, piece.len)
    }
}

impl From<(Stream, u64, u64)> for Piece {
    fn from((stream, ms, len): (Stream, u64, u64)) -> Self {
        Self { stream, ms, len }
    }
}

/// What was kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Captured {
    /// What `bytes` is made of, in order.
    pub pieces: Vec<Piece>,
    /// The kept bytes.
    pub bytes: Vec<u8>,
    /// How many bytes were not kept.
    pub dropped: u64,
}

/// Keeps the first and the last bytes of what is pushed into it.
#[derive(Debug)]
pub struct Capture {
    head_limit: usize,
    tail_limit: usize,
    head: Vec<u8>,
    head_pieces: Vec<Piece>,
    head_full: bool,
    tail: VecDeque<u8>,
    tail_pieces: VecDeque<Piece>,
    dropped: u64,
}

impl Capture {
    /// Keeps the first `head` and the last `tail` bytes.
    pub fn new(head: usize, tail: usize) -> Self {
        Self {
            head_limit: head,
            tail_limit: tail,
            head: Vec::new(),
            head_pieces: Vec::new(),
            head_full: head == 0,
            tail: VecDeque::new(),
            tail_pieces: VecDeque::new(),
            dropped: 0,
        }
    }

    /// Takes bytes that arrived `ms` after the start.
    pub fn push(&mut self, stream: Stream, ms: u64, bytes: &[u8]) {
        let rest = self.push_head(stream, ms, bytes);
        if rest.is_empty() {
            return;
        }
        let skipped = rest.len().saturating_sub(self.tail_limit);
        let kept = &rest[skipped..];
        let excess = (self.tail.len() + kept.len()).saturating_sub(self.tail_limit);
        self.evict(excess);
        self.dropped += skipped as u64;
        if kept.is_empty() {
            return;
        }
        self.tail.extend(kept);
        match self.tail_pieces.back_mut() {
            Some(last) if last.stream == stream && last.ms == ms => last.len += kept.len() as u64,
            _ => {
                self.tail_pieces.push_back(Piece { stream, ms, len: kept.len() as u64 });
                if self.tail_pieces.len() > MAX_PIECES {
                    let oldest = self.tail_pieces[0].len;
                    self.evict(usize::try_from(oldest).unwrap_or(usize::MAX));
                }
            }
        }
    }

    /// Bytes that were pushed so far.
    pub(super) fn printed(&self) -> u64 {
        (self.head.len() + self.tail.len()) as u64 + self.dropped
    }

    /// Whether so many more bytes all go into the head.
    pub(super) fn has_room(&self, count: usize) -> bool {
        !self.head_full && count <= self.head_limit - self.head.len()
    }

    /// What is in the head: runs of bytes of one stream, in order.
    pub(super) fn head(&self) -> impl Iterator<Item = (Stream, &[u8])> {
        let mut rest = &self.head[..];
        self.head_pieces.iter().map(move |piece| {
            let (now, later) = rest.split_at(usize::try_from(piece.len).unwrap_or(0));
            rest = later;
            (piece.stream, now)
        })
    }

    /// Puts what fits into the head and returns the rest.
    fn push_head<'a>(&mut self, stream: Stream, ms: u64, bytes: &'a [u8]) -> &'a [u8] {
        if self.head_full || bytes.is_empty() {
            return bytes;
        }
        let (kept, rest) = bytes.split_at(bytes.len().min(self.head_limit - self.head.len()));
        self.head.extend_from_slice(kept);
        match self.head_pieces.last_mut() {
            Some(last) if last.stream == stream && last.ms == ms => last.len += kept.len() as u64,
            _ => self.head_pieces.push(Piece { stream, ms, len: kept.len() as u64 }),
        }
        self.head_full = self.head.len() == self.head_limit || self.head_pieces.len() == MAX_PIECES;
        rest
    }

    /// Drops the oldest `count` bytes of the tail.
    fn evict(&mut self, count: usize) {
        let count = count.min(self.tail.len());
        self.tail.drain(..count);
        self.dropped += count as u64;
        let mut left = count as u64;
        while left > 0 {
            let Some(first) = self.tail_pieces.front_mut() else {
                break;
            };
            if first.len > left {
                first.len -= left;
                break;
            }
            left -= first.len;
            self.tail_pieces.pop_front();
        }
    }

    /// The last `max` bytes so far.
    pub fn last(&self, max: usize) -> Captured {
        let mut last = Self::new(0, max);
        let (a, b) = self.tail.as_slices();
        let tail = [a, b].concat();
        for (pieces, mut bytes) in
            [(self.head_pieces.to_vec(), &self.head[..]), (self.tail_pieces.iter().copied().collect(), &tail)]
        {
            for piece in pieces {
                let (now, rest) = bytes.split_at(usize::try_from(piece.len).unwrap_or(0));
                last.push(piece.stream, piece.ms, now);
                bytes = rest;
            }
        }
        let mut captured = last.finish();
        captured.pieces.retain(|piece| piece.stream != Stream::Dropped);
        captured
    }

    /// Everything that was kept.
    pub fn finish(self) -> Captured {
        let mut pieces = self.head_pieces;
        if self.dropped > 0 {
            let ms = self.tail_pieces.front().or(pieces.last()).map_or(0, |piece| piece.ms);
            pieces.push(Piece { stream: Stream::Dropped, ms, len: self.dropped });
        }
        pieces.extend(self.tail_pieces);
        let mut bytes = self.head;
        let (a, b) = self.tail.as_slices();
        bytes.extend_from_slice(a);
        bytes.extend_from_slice(b);
        Captured { pieces, bytes, dropped: self.dropped }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(stream: Stream, ms: u64, len: u64) -> Piece {
        Piece { stream, ms, len }
    }

    #[test]
    fn short_output_is_kept_whole_and_tagged() {
        let mut capture = Capture::new(10, 10);
        capture.push(Stream::Out, 1, b"abc");
        capture.push(Stream::Out, 1, b"def");
        capture.push(Stream::Err, 2, b"\xff\x00");
        let captured = capture.finish();
        assert_eq!(captured.bytes, b"abcdef\xff\x00");
        assert_eq!(captured.pieces, [piece(Stream::Out, 1, 6), piece(Stream::Err, 2, 2)]);
        assert_eq!(captured.dropped, 0);
    }

    #[test]
    fn head_and_tail_survive_and_the_middle_is_counted() {
        for chunk in [1, 2, 3, 7, 64, 1000] {
            let all: Vec<u8> = (0..1000u32).map(|n| (n % 251) as u8).collect();
            let mut capture = Capture::new(10, 7);
            for (n, bytes) in all.chunks(chunk).enumerate() {
                capture.push(Stream::Out, n as u64, bytes);
            }
            let captured = capture.finish();
            assert_eq!(captured.bytes, [&all[..10], &all[993..]].concat(), "{chunk}");
            assert_eq!(captured.dropped, 983);
            let kept = captured.pieces.iter().filter(|p| p.stream != Stream::Dropped);
            assert_eq!(kept.map(|p| p.len).sum::<u64>(), 17);
            let hole = captured.pieces.iter().position(|p| p.stream == Stream::Dropped).unwrap();
            assert_eq!(captured.pieces[..hole].iter().map(|p| p.len).sum::<u64>(), 10);
        }
    }

    #[test]
    fn limits_of_zero_only_count() {
        let mut capture = Capture::new(0, 0);
        capture.push(Stream::Out, 0, b"abc");
        let captured = capture.finish();
        assert_eq!((captured.bytes.len(), captured.dropped), (0, 3));
        assert_eq!(captured.pieces, [piece(Stream::Dropped, 0, 3)]);
    }

    #[test]
    fn many_tiny_pieces_stay_bounded() {
        let mut capture = Capture::new(1 << 20, 1 << 20);
        for n in 0..100_000u64 {
            capture.push(if n % 2 == 0 { Stream::Out } else { Stream::Err }, n, b"x");
        }
        let captured = capture.finish();
        assert!(captured.pieces.len() <= 2 * MAX_PIECES + 1);
        assert_eq!(captured.bytes.len() as u64 + captured.dropped, 100_000);
    }

    #[test]
    fn the_last_bytes_can_be_looked_at_over_head_and_tail() {
        let mut capture = Capture::new(4, 4);
        capture.push(Stream::Out, 1, b"abc");
        assert_eq!(capture.last(2).bytes, b"bc");
        capture.push(Stream::Err, 2, b"defg");
        let last = capture.last(5);
        assert_eq!(last.bytes, b"cdefg");
        assert_eq!(last.pieces, [piece(Stream::Out, 1, 1), piece(Stream::Err, 2, 4)]);
    }

    #[test]
    fn a_piece_is_three_numbers_on_the_wire() {
        let json = serde_json::to_string(&piece(Stream::Err, 5, 9)).unwrap();
        assert_eq!(json, "[2,5,9]");
        assert_eq!(serde_json::from_str::<Piece>(&json).unwrap(), piece(Stream::Err, 5, 9));
    }
}
