//! What daemon, warden, keepers and holders say to each other. Data only.
//!
//! A unit's standard input is always `/dev/null`, unless a descriptor is passed for it.

use std::os::fd::RawFd;

use serde::{Deserialize, Serialize};

use super::capture::{Piece, Stream};
use super::whole::Whole;
use super::wire::Text;

/// Daemon to warden.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum ToWarden {
    /// Fork a keeper; its socket is attached. `index` is its place in the table of deadlines.
    Keeper { serial: u64, index: usize },
    /// Fork a holder and let it start a service; descriptors are attached.
    Service { id: u64, spec: Spec },
}

/// Warden to daemon.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum FromWarden {
    /// The first message.
    Ready,
    /// A keeper runs.
    KeeperStarted { serial: u64, pid: i32 },
    /// A keeper could not be forked.
    KeeperFailed { serial: u64, error: String },
    /// A keeper ended, and so did everything beneath it.
    KeeperGone { serial: u64, status: Status },
    /// A service runs.
    ServiceStarted { id: u64, pid: i32 },
    /// A service could not be started.
    ServiceFailed { id: u64, error: String },
    /// A service ended, and so did everything beneath it.
    ServiceExited { id: u64, status: Status },
}

/// Holder to warden, on a pipe.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum FromHolder {
    Started { pid: i32 },
    Failed { error: String },
    Ended { status: Status },
}

/// How a process ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Status {
    pub(super) code: Option<i32>,
    pub(super) signal: Option<i32>,
}

/// What to execute. `env` holds changes to the base; `None` takes a variable away.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Spec {
    pub(super) argv: Vec<Text>,
    pub(super) env: Vec<(Text, Option<Text>)>,
    pub(super) cwd: Option<Text>,
    /// The numbers which the attached descriptors get in the child, in order.
    pub(super) pass_fds: Vec<RawFd>,
}

/// Daemon to keeper.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum ToKeeper {
    /// Environment and folder for the units that are sent after it.
    Base { env: Vec<(Text, Text)>, cwd: Text },
    /// Append a unit to the queue.
    Run(Run),
    /// End a unit: TERM, grace, KILL, or at once. One that has not started is dropped.
    Kill { id: u64, now: bool },
    /// Take units out of the queue if they have not started.
    Drop { ids: Vec<u64> },
    /// Kill a descendant and everything beneath it.
    KillTree { pid: i32 },
    /// Switch live output of a unit on or off.
    Live { id: u64, on: bool },
    /// Ask for the last output of the running unit.
    Tail { id: u64 },
}

/// One unit for a keeper's queue.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Run {
    pub(super) id: u64,
    pub(super) spec: Spec,
    pub(super) timeout_ms: Option<u64>,
    pub(super) grace_ms: u64,
    pub(super) head: usize,
    pub(super) tail: usize,
    pub(super) live: bool,
    pub(super) whole: Option<Text>,
}

/// Keeper to daemon.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum FromKeeper {
    /// A unit's main process runs.
    Started { id: u64, pid: i32 },
    /// Live output, in the blob; `dropped` bytes before it were not forwarded.
    Output { id: u64, stream: Stream, ms: u64, dropped: u64 },
    /// A unit ended, and so did everything beneath it; its output is the blob.
    Exited(Exited),
    /// These units will not be started. `lease`: because the deadline had passed.
    Dropped { ids: Vec<u64>, lease: bool },
    /// The last output of a running unit; its bytes are the blob.
    Tail { id: u64, pieces: Vec<Piece> },
}

/// Why a unit ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// Its main process ended by itself.
    Exit,
    /// Its own timeout.
    Timeout,
    /// The daemon asked for it.
    Killed,
    /// The deadline in the table passed: the daemon had stopped beating.
    Lease,
    /// It could not be started; `error` tells why.
    Spawn,
}

/// The end of a unit. When it is reported, nothing that the unit had started is alive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exited {
    /// The unit.
    pub id: u64,
    /// Exit code of the main process, if it exited.
    pub code: Option<i32>,
    /// Signal that ended the main process, if one did.
    pub signal: Option<i32>,
    /// What made it end.
    pub reason: Reason,
    /// Why it could not be started, or what could not be killed.
    pub error: Option<String>,
    /// From start to the end of the main process.
    pub wall_us: u64,
    /// Processor time in user mode of the main process and the children it waited for.
    pub user_us: u64,
    /// The same in the kernel.
    pub system_us: u64,
    /// Largest resident set of the main process or a child it waited for.
    pub max_rss_kib: u64,
    /// Processes that had to be killed besides the main one.
    pub strays: u32,
    /// Bytes of output that are not in `output`.
    pub dropped_bytes: u64,
    /// What became of its whole output, if that was asked for.
    pub whole: Whole,
    /// What `output` is made of, in order.
    pub pieces: Vec<Piece>,
    /// The first and the last bytes that it printed, as `pieces` describes.
    #[serde(skip)]
    pub output: Vec<u8>,
}
