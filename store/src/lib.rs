//! The only room with Redis: keys, scripts, one typed wrapper a script, connections.
//!
//! Callers meet typed functions, never keys or commands. Truth is Redis state, changed only by the scripts in
//! `scripts/`; what they do to a task is the table in `remuda_protocol::lifecycle`. `coordinator` strings the calls of a
//! submitter together for programs of one's own. Nothing here spawns processes, reads files or decides what a run means.

mod add;
mod adopt;
mod beat;
mod bell;
mod cancel;
mod connection;
mod coordinator;
mod drain;
mod error;
mod gc;
mod heads;
mod held;
mod hint;
mod history;
mod keys;
mod log;
mod memory;
mod next;
mod open;
mod reap;
mod refusal;
mod refuse;
mod reply;
mod report;
mod resync;
mod scripts;
mod seal;
mod snapshot;
mod watch;

pub use add::{Added, Entry};
pub use adopt::Adopted;
pub use beat::{Beat, BeatReply, Renewal};
pub use bell::Bell;
pub use cancel::Cancelled;
pub use connection::{ConnectOptions, Store};
pub use coordinator::{Coordinator, CoordinatorError, Following, TaskEvent, Work};
pub use drain::{Served, Service};
pub use error::StoreError;
pub use heads::{JobHead, Pool};
pub use held::HeldClaim;
pub use history::History;
pub use keys::check_farm;
pub use log::Logged;
pub use memory::Memory;
pub use next::{Claim, NextCall, NextReply, TaskResult, Verdict, Want};
pub use open::Opened;
pub use refuse::{Refusal, Refused};
pub use report::HostReport;
pub use resync::{Registration, Resynced};
pub use scripts::ScriptSet;
pub use seal::Sealed;
pub use snapshot::{GroupSnapshot, JobSnapshot, TaskRecord, WorkerSnapshot};
pub use watch::{Message, Subscription};

/// Most tasks or results in one call of a script (DESIGN §4.9).
pub const ITEMS: usize = 200;
/// Tasks in one bucket of ids or records.
pub const BUCKET: u32 = 100;
