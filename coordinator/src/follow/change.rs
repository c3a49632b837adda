//! What events change in the view of a job: plain values between `view`, which makes them, and `intake`, which gives
//! them names.

use std::sync::Arc;

use remuda_protocol::outcome::Outcome;

/// Group number and task number.
pub type TaskKey = (u32, u32);

/// A place of a worker.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SlotKey {
    /// Worker id.
    pub worker: Arc<str>,
    /// Its slot.
    pub slot: Arc<str>,
}

/// An attempt that came to an end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct End {
    /// The task.
    pub task: TaskKey,
    /// How.
    pub outcome: Outcome,
    /// µs.
    pub us: u64,
    /// Part of it that set up wider fixtures, µs.
    pub wide_us: u64,
    /// Fence, 0 if it never ran.
    pub fence: u64,
    /// Slot number unique in the job.
    pub number: u32,
    /// Where it ran, if that is known.
    pub slot: Option<SlotKey>,
    /// Whether it was the first of this job in that slot.
    pub first_in_slot: bool,
    /// Whether a detail is stored; `None`: it was dropped for want of space.
    pub detail: Option<bool>,
    /// How earlier attempts failed.
    pub earlier: Vec<Outcome>,
    /// How often it was lost.
    pub losses: u32,
}

/// What an event changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Tasks were added.
    Added {
        /// Group number.
        group: u32,
        /// How many.
        count: u32,
    },
    /// A slot claimed tasks.
    Claimed {
        /// Group number.
        group: u32,
        /// First task.
        first: u32,
        /// How many.
        count: u32,
        /// Fence of the claim.
        fence: u64,
        /// Slot number unique in the job.
        number: u32,
        /// The slot.
        slot: SlotKey,
    },
    /// A task reached its end.
    Ended(End),
    /// An attempt failed; the task will be tried again.
    Tried(End),
    /// A task went back to its lane without a result.
    Back {
        /// The task.
        task: TaskKey,
        /// Whether its worker died (else it gave it back unstarted).
        lost: bool,
        /// Fence of the claim.
        fence: u64,
        /// Where it was, if that is known.
        slot: Option<SlotKey>,
    },
    /// A group changed.
    Group {
        /// Group number.
        group: u32,
        /// State word.
        state: String,
        /// Why.
        reason: String,
    },
    /// The job changed.
    Job {
        /// State word.
        state: String,
        /// Why.
        reason: String,
    },
    /// A worker cannot run the job.
    Refused {
        /// Worker id.
        worker: Arc<str>,
        /// Others that go on.
        others: u32,
        /// Why.
        reason: String,
    },
}
