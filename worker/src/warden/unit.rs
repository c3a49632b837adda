//! One running unit: its pipes, its output, its limits, and how it ends. Owned by the keeper's loop.
//!
//! ```text
//! running ──main ends──► sweeping ──no children left──► finished
//!    │ timeout, kill         ▲ (leftovers are killed on each SIGCHLD)
//!    ▼                       │
//! TERM sent ──grace over──► KILL to all ──main ends──┘
//! ```

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::libc;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::{Pid, pipe2};

use super::capture::{Capture, Stream};
use super::messages::{Exited, FromKeeper, Reason, Run, Status};
use super::process::{self, Base};
use super::tree::{self, Reaped};
use super::whole::{Whole, Writing};

/// Live output waits this long for more of its kind.
const COALESCE: Duration = Duration::from_millis(50);

/// … or until there is this much.
const LIVE_CHUNK: usize = 32 << 10;

/// More than this is not held for the daemon; one look at both pipes cannot bring more.
const LIVE_LIMIT: usize = 512 << 10;

/// What was printed before somebody looked is sent as far back as this.
const LIVE_BACK: usize = 128 << 10;

/// What cannot be killed in this time is reported as an error.
const SWEEP_LIMIT: Duration = Duration::from_secs(10);

/// Reads of one pipe before the keeper looks at something else.
const READS: usize = 4;

/// After the end a pipe is read this often: as much as the largest pipe holds.
const LAST_READS: usize = 4 * READS;

/// A unit whose main process was started.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) id: u64,
    pub(super) pid: Pid,
    started: Instant,
    timeout_at: Option<Instant>,
    grace: Duration,
    /// When TERM turns into KILL.
    kill_at: Option<Instant>,
    reason: Option<Reason>,
    /// KILL was sent to all; whatever appears from now on is killed too.
    killing: bool,
    main: Option<(Reaped, Duration)>,
    sweep_until: Option<Instant>,
    strays: u32,
    pub(super) out: Option<File>,
    pub(super) err: Option<File>,
    capture: Capture,
    whole: Option<Writing>,
    live: Live,
}

impl Running {
    /// Starts the unit. The error is for people.
    pub(super) fn start(base: &Base, run: &Run, fds: &[OwnedFd]) -> Result<Self, String> {
        let pipes = pipe().and_then(|out| Ok((out, pipe()?)));
        let ((out, out_end), (err, err_end)) = pipes.map_err(|error| format!("cannot make a pipe: {error}"))?;
        let started = Instant::now();
        let pid = process::spawn(base, &run.spec, fds, out_end.as_fd(), err_end.as_fd())?;
        Ok(Self {
            id: run.id,
            pid,
            started,
            timeout_at: run.timeout_ms.map(|ms| started + Duration::from_millis(ms)),
            grace: Duration::from_millis(run.grace_ms),
            kill_at: None,
            reason: None,
            killing: false,
            main: None,
            sweep_until: None,
            strays: 0,
            out: Some(out),
            err: Some(err),
            capture: Capture::new(run.head, run.tail),
            whole: run.whole.as_ref().map(|stem| Writing::new(stem.as_os_str().into())),
            live: Live { on: run.live, ..Live::default() },
        })
    }

    /// Begins the end: TERM to the group and KILL after the grace, or KILL to all at once.
    pub(super) fn end(&mut self, reason: Reason, at_once: bool, now: Instant) {
        self.reason.get_or_insert(reason);
        if at_once || self.grace.is_zero() {
            self.kill_all(now);
        } else if self.kill_at.is_none() && self.main.is_none() {
            // Not reaped yet, so the group's number is still its own. CONT: a stopped process could not
            // see the TERM.
            let _ = killpg(self.pid, Signal::SIGTERM);
            let _ = killpg(self.pid, Signal::SIGCONT);
            self.kill_at = Some(now + self.grace);
        }
    }

    fn kill_all(&mut self, now: Instant) {
        self.killing = true;
        self.kill_at = None;
        self.sweep_until.get_or_insert(now + SWEEP_LIMIT);
        tree::kill_children(|_| false);
    }

    /// Whether KILL was sent to all of it.
    pub(super) fn is_killed(&self) -> bool {
        self.killing
    }

    /// Takes note of a reaped process.
    pub(super) fn reaped(&mut self, reaped: Reaped) {
        if reaped.pid == self.pid && self.main.is_none() {
            self.main = Some((reaped, self.started.elapsed()));
        } else if self.killing && libc::WIFSIGNALED(reaped.status) {
            self.strays += 1;
        }
    }

    /// After a look at the children (`left`: there are some): kills those that should not be there.
    /// True when the unit has ended.
    pub(super) fn settle(&mut self, left: bool, now: Instant) -> bool {
        if self.main.is_some() && !left {
            return true;
        }
        if self.main.is_some() || self.killing {
            self.kill_all(now);
        }
        if self.sweep_until.is_none_or(|until| now < until) {
            return false;
        }
        // Without the main process's end there is no result; look again later.
        self.sweep_until = Some(now + SWEEP_LIMIT);
        self.main.is_some()
    }

    /// Acts on the times that have come.
    pub(super) fn tick(&mut self, now: Instant) {
        if self.timeout_at.is_some_and(|at| now >= at) {
            self.timeout_at = None;
            if self.main.is_none() {
                self.end(Reason::Timeout, false, now);
            }
        }
        if self.kill_at.is_some_and(|at| now >= at) {
            self.kill_all(now);
        }
    }

    /// The next moment at which [`Self::tick`], [`Self::settle`] or [`Self::take_live`] has to look.
    pub(super) fn next_at(&self) -> Option<Instant> {
        let live = self.live.since.map(|since| since + COALESCE);
        [self.timeout_at, self.kill_at, self.sweep_until, live].into_iter().flatten().min()
    }

    /// Reads what one pipe holds, up to a bound.
    pub(super) fn pump(&mut self, stream: Stream, buffer: &mut [u8]) {
        self.read(stream, buffer, READS);
    }

    /// Reads what is left in the pipes. Nobody of the unit writes any more.
    pub(super) fn drain(&mut self, buffer: &mut [u8]) {
        self.read(Stream::Out, buffer, LAST_READS);
        self.read(Stream::Err, buffer, LAST_READS);
    }

    fn read(&mut self, stream: Stream, buffer: &mut [u8], times: usize) {
        for _ in 0..times {
            let pipe = if stream == Stream::Out { &mut self.out } else { &mut self.err };
            let Some(file) = pipe else { return };
            match file.read(buffer) {
                Ok(count) if count > 0 => {
                    let ms = millis(self.started.elapsed());
                    if let Some(whole) = &mut self.whole {
                        whole.push(&self.capture, stream, &buffer[..count]);
                    }
                    self.capture.push(stream, ms, &buffer[..count]);
                    self.live.push(stream, ms, &buffer[..count]);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(_) | Err(_) => {
                    *pipe = None;
                    return;
                }
            }
        }
    }

    /// Switches live output. Whoever begins to look sees first what nobody has seen yet, as far as it was kept.
    pub(super) fn set_live(&mut self, on: bool) {
        let printed = self.capture.printed();
        if on == self.live.on {
            return; // who was not looking has seen nothing either
        }
        if !on {
            self.live = Live { passed: printed - self.live.bytes as u64, ..Live::default() };
        } else {
            let unseen = usize::try_from(printed - self.live.passed).unwrap_or(usize::MAX);
            let last = self.capture.last(unseen.min(LIVE_BACK));
            (self.live.on, self.live.dropped) = (true, (unseen - last.bytes.len()) as u64);
            let mut rest = &last.bytes[..];
            for piece in last.pieces {
                let (now, later) = rest.split_at(usize::try_from(piece.len).unwrap_or(0));
                self.live.push(piece.stream, piece.ms, now);
                rest = later;
            }
        }
    }

    /// Live output that has waited long enough, as it must be sent; `room` is false when the daemon does
    /// not read, and then it is dropped and counted.
    pub(super) fn take_live(&mut self, now: Instant, room: bool, all: bool) -> Vec<(FromKeeper, Vec<u8>)> {
        self.live.take(self.id, now, room, all)
    }

    /// The last `max` bytes of output.
    pub(super) fn last(&self, max: usize) -> super::capture::Captured {
        self.capture.last(max)
    }

    /// The result. What is still in the pipes has been read.
    pub(super) fn finish(self, left: bool) -> Exited {
        let captured = self.capture.finish();
        let (status, usage, wall) = match &self.main {
            Some((main, wall)) => (Status::from_raw(main.status), Some(main.usage), *wall),
            None => (Status::default(), None, self.started.elapsed()),
        };
        let micros = |time: libc::timeval| (time.tv_sec * 1_000_000 + time.tv_usec).unsigned_abs();
        Exited {
            id: self.id,
            code: status.code,
            signal: status.signal,
            reason: self.reason.unwrap_or(Reason::Exit),
            error: left.then(|| "some of its processes could not be killed".to_owned()),
            wall_us: u64::try_from(wall.as_micros()).unwrap_or(u64::MAX),
            user_us: usage.map_or(0, |usage| micros(usage.ru_utime)),
            system_us: usage.map_or(0, |usage| micros(usage.ru_stime)),
            max_rss_kib: usage.map_or(0, |usage| usage.ru_maxrss.unsigned_abs()),
            strays: self.strays,
            dropped_bytes: captured.dropped,
            whole: self.whole.map(Writing::finish).unwrap_or_default(),
            pieces: captured.pieces,
            output: captured.bytes,
        }
    }
}

impl Exited {
    /// The end of a unit that could not be started.
    pub(super) fn not_started(id: u64, error: String) -> Self {
        Self {
            id,
            code: None,
            signal: None,
            reason: Reason::Spawn,
            error: Some(error),
            wall_us: 0,
            user_us: 0,
            system_us: 0,
            max_rss_kib: 0,
            strays: 0,
            dropped_bytes: 0,
            whole: Whole::default(),
            pieces: Vec::new(),
            output: Vec::new(),
        }
    }
}

impl Status {
    pub(super) fn from_raw(status: i32) -> Self {
        if libc::WIFSIGNALED(status) {
            Self { code: None, signal: Some(libc::WTERMSIG(status)) }
        } else {
            Self { code: Some(libc::WEXITSTATUS(status)), signal: None }
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// A pipe whose reading end does not block. (Its ends are two open files: the writer's does.)
fn pipe() -> io::Result<(File, OwnedFd)> {
    let (reader, writer) = pipe2(OFlag::O_CLOEXEC)?;
    fcntl(&reader, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    Ok((File::from(reader), writer))
}

/// Output on its way to somebody who looks.
#[derive(Debug, Default)]
struct Live {
    on: bool,
    /// When it was switched off: bytes that had been sent, or missed.
    passed: u64,
    chunks: Vec<(Stream, u64, Vec<u8>)>,
    bytes: usize,
    since: Option<Instant>,
    last_ms: u64,
    dropped: u64,
}

impl Live {
    fn push(&mut self, stream: Stream, ms: u64, bytes: &[u8]) {
        if !self.on {
            return;
        }
        if self.bytes >= LIVE_LIMIT {
            self.dropped += bytes.len() as u64;
            return;
        }
        self.since.get_or_insert_with(Instant::now);
        self.last_ms = ms;
        self.bytes += bytes.len();
        match self.chunks.last_mut() {
            Some((last, _, chunk)) if *last == stream => chunk.extend_from_slice(bytes),
            _ => self.chunks.push((stream, ms, bytes.to_vec())),
        }
    }

    fn take(&mut self, id: u64, now: Instant, room: bool, all: bool) -> Vec<(FromKeeper, Vec<u8>)> {
        let waited = self.since.is_some_and(|since| now >= since + COALESCE);
        if !waited && !all && self.bytes < LIVE_CHUNK {
            return Vec::new();
        }
        self.since = None;
        let mut chunks = std::mem::take(&mut self.chunks);
        let bytes = std::mem::take(&mut self.bytes) as u64;
        if !room {
            self.dropped += bytes;
            chunks.clear();
        }
        if all && chunks.is_empty() && self.dropped > 0 {
            // The last word at least tells how much was missed.
            chunks.push((Stream::Dropped, self.last_ms, Vec::new()));
        }
        let frame = |(stream, ms, chunk)| {
            let dropped = std::mem::take(&mut self.dropped);
            (FromKeeper::Output { id, stream, ms, dropped }, chunk)
        };
        chunks.into_iter().map(frame).collect()
    }
}
