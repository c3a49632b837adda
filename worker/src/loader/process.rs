//! A loader as the daemon holds it: its keeper, its control socket, what it found, and the runners forked from it.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use remuda_protocol::outcome::Detail;
use serde_json::{Map, Value};

use super::frames::{FrameReceiver, FrameSender, open};
use super::messages::{Options, Test, ToRunner};
use super::tap::Tap;
use crate::warden::{KeeperSender, Unit};

/// Descriptor number of the control socket in the loader.
const CONTROL_FD: i32 = 3;
/// Bytes kept of what the loader itself prints, from its start and from its end.
const OUTPUT_BYTES: usize = 64 << 10;

/// Where a loader is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Importing and collecting.
    Loading,
    /// Its manifest is being added to the group.
    Adding,
    /// It forks runners.
    Ready,
    /// Its session ends.
    Finishing,
}

/// One loader.
#[derive(Debug)]
pub struct Loader {
    /// Number within this daemon.
    pub id: u64,
    /// Job id.
    pub job: String,
    /// Group number of the tests.
    pub group: u32,
    /// Slot whose own it is; none for one that is forked for all.
    pub owner: Option<u32>,
    /// Where it is.
    pub phase: Phase,
    /// Its keeper.
    pub keeper: KeeperSender,
    /// Its keeper's place in the table of deadlines.
    pub keeper_index: usize,
    /// The unit under that keeper.
    pub unit: u64,
    /// Its control socket.
    pub control: FrameSender,
    /// Slot that serves the collect task with it.
    pub collecting: Option<u32>,
    /// What it found, until it is added.
    pub tests: Vec<Test>,
    /// Position in the manifest by id.
    pub positions: HashMap<String, u32>,
    /// Whether it may be forked, and why not.
    pub fork: Result<(), String>,
    /// Where loaders of single slots send their reports, if it may not be forked.
    pub controller: Option<String>,
    /// What the suite asks for.
    pub options: Options,
    /// What it told instead of tests.
    pub answer: Option<Detail>,
    /// Late failures of wide fixtures.
    pub late: Vec<(String, String)>,
    /// Words of tests that wanted the whole run to end.
    pub stops: Vec<String>,
    /// Why the suite told its session to stop, if it did.
    pub stopped: String,
    /// How its session ended, once it has said so.
    pub end: Option<SessionEnd>,
    /// Runners asked for, whose monitors are not known yet: slot and generation, in order.
    pub pending: VecDeque<(u32, u64)>,
    /// Runners that tear down and end by themselves.
    pub retired: Vec<Retired>,
    /// Runners asked for and not yet ended.
    pub alive: u32,
}

/// How a session ended.
#[derive(Debug)]
pub struct SessionEnd {
    /// What the framework printed then.
    pub summary: String,
    /// Why it is no success, whatever its tests say; empty if nothing is wrong.
    pub error: String,
}

/// A runner that has no slot any more.
#[derive(Debug)]
pub struct Retired {
    /// Which one.
    pub generation: u64,
    /// Its monitor, once known.
    pub monitor: Option<i32>,
    /// Kept open until it has ended: a closed socket means that we are gone.
    pub sender: FrameSender,
}

/// A runner as the daemon holds it.
#[derive(Debug)]
pub struct Runner {
    /// Its loader.
    pub loader: u64,
    /// Tells it from its predecessors on this slot.
    pub generation: u64,
    /// Its socket.
    pub sender: FrameSender,
    /// Its monitor, once forked.
    pub monitor: Option<i32>,
    /// What it prints past the framework's capture.
    pub taps: [Tap; 2],
    /// Items of pools that its environment names.
    pub locks: Vec<(String, Vec<String>)>,
    /// Why it was killed by us, if it was.
    pub killed: Option<Killed>,
}

/// Why we kill a runner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Killed {
    /// Its test passed its timeout.
    Timeout,
    /// Its claim was cancelled, lost, or the daemon stops.
    Stop,
}

/// Starts a loader under `keeper`; returns its control socket.
///
/// # Errors
/// No socket, or the keeper is gone.
pub fn start(
    keeper: &KeeperSender,
    unit: u64,
    argv: Vec<String>,
    env: Vec<(String, String)>,
    settings: &Value,
) -> io::Result<(FrameSender, FrameReceiver)> {
    let (ours, theirs) = UnixStream::pair()?;
    let mut loader = Unit::new(unit, argv);
    loader.head = OUTPUT_BYTES;
    loader.tail = OUTPUT_BYTES;
    loader.fds = vec![(OwnedFd::from(theirs), CONTROL_FD)];
    for (name, value) in env {
        loader = loader.env(name, value);
    }
    loader = loader.env("REMUDA_RUNNER_FD", CONTROL_FD.to_string()).env("REMUDA_LOAD", settings.to_string());
    keeper.run(loader)?;
    open(ours)
}

/// Asks a loader for a runner; returns what the daemon holds of it and where it listens.
///
/// # Errors
/// No socket or pipe is to be had.
pub fn fork(
    loader: &mut Loader,
    slot: u32,
    place: u32,
    generation: u64,
    locks: Vec<(String, Vec<String>)>,
    env: Vec<(String, String)>,
) -> io::Result<(Runner, FrameReceiver)> {
    let (ours, theirs) = UnixStream::pair()?;
    let (out, out_end) = Tap::open()?;
    let (err, err_end) = Tap::open()?;
    let (sender, receiver) = open(ours)?;
    let env: Map<String, Value> = env.into_iter().map(|(k, v)| (k, Value::String(v))).collect();
    let message = ToRunner::Fork { slot, number: place, env };
    loader.control.send(&message, vec![OwnedFd::from(theirs), out_end, err_end]);
    loader.pending.push_back((slot, generation));
    loader.alive += 1;
    let runner = Runner { loader: loader.id, generation, sender, monitor: None, taps: [out, err], locks, killed: None };
    Ok((runner, receiver))
}
