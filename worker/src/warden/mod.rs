//! Process supervision: nothing that an attempt started outlives it, nor the daemon.
//!
//! ```text
//! daemon (tokio, many threads)                client.rs, handle.rs
//!   │ control socket, memfd of deadlines
//!   └─► warden  (re-executed, one thread)     root.rs: subreaper, own session
//!         ├─► keeper 0  (forked, no exec)     keeper.rs: subreaper, own socket to the daemon
//!         │     └─► unit: attempt or runner   process.rs, unit.rs: own session, output on pipes
//!         │           └─► whatever it starts, double forks and `setsid` included
//!         ├─► keeper 1 …
//!         └─► holder  (forked, no exec)       service.rs: subreaper
//!               └─► service: the embedded Redis, stopped last
//! ```
//!
//! Every process that a unit starts is a descendant of its keeper for as long as that keeper lives,
//! because an orphan goes to the nearest subreaper. A keeper runs one unit at a time, so *all that is
//! beneath a keeper* is the containment unit, and killing it needs neither a cgroup nor a mark in the
//! environment: kill the direct children (and their process groups) until `wait` says that there are
//! none (`tree.rs`). When nothing is left over that costs one `wait` that fails, and nothing else. A
//! cgroup would cost a `mkdir`, a write and a `rmdir` for each attempt, is not writable everywhere, and
//! would add nothing but a quicker end for fork bombs; so none is used.
//!
//! Who notices what:
//!
//! | what happens | who acts |
//! |---|---|
//! | the unit's main process ends | its keeper kills what is left, drains the pipes, reports |
//! | the unit's own timeout | its keeper: TERM to the group, grace, KILL to all |
//! | the daemon stops beating (`SIGSTOP`, starved) | each keeper, at its deadline (`deadlines.rs`) |
//! | the daemon dies, or closes a keeper's socket | each keeper: end of file, KILL to all, exit |
//! | the daemon dies, or closes the control socket | the warden: ends keepers, then services, exits |
//! | a keeper dies (a test killed its parent) | the warden: kills what fell to it, tells the daemon |
//! | a keeper is stopped | the warden: `SIGCONT` |
//! | the warden dies | keepers and holders: the death signal; KILL to all (services: TERM first), exit |
//!
//! What it cannot stop: a process of another user (`sudo`) that the keeper may not signal (reported as
//! an error after ten seconds), processes that were started by somebody else on request (a container
//! engine, `at`), and one test that kills keeper and warden in the same breath.
//!
//! Output goes through the keeper, which holds the first and the last of it (`capture.rs`) and, where that is asked
//! for, writes all of it into files (`whole.rs`).
//!
//! This module must not know tasks, leases or Redis, and no part of it except the client may use tokio,
//! start a thread or wait for the daemon: it works when the daemon does not.

mod capture;
mod channel;
mod client;
mod deadlines;
mod handle;
mod keeper;
mod messages;
pub(crate) mod process;
mod root;
mod service;
pub(crate) mod signals;
mod socket;
pub(crate) mod tree;
mod unit;
pub mod whole;
pub(crate) mod wire;

use std::os::fd::{FromRawFd, OwnedFd};

pub use capture::{Capture, Captured, Piece, Stream};
pub use client::{Options, Service, Warden, WardenEvent};
pub use deadlines::{Deadlines, boottime_now_ms};
pub use handle::{Keeper, KeeperEvent, KeeperSender, Unit};
pub use messages::{Exited, Reason};
pub use whole::Whole;

/// The name by which a process knows that it is a warden.
const ARGV0: &str = "remuda-warden";

/// Becomes the warden, and never returns, if this process was started as one. Call it first in `main`,
/// before a runtime, a thread or a logger exists.
pub fn run_if_warden() {
    if std::env::args_os().next().is_none_or(|name| name != ARGV0) {
        return;
    }
    // SAFETY: the client starts a warden with its control socket as descriptor 0 and the memfd of
    // deadlines as descriptor 1, and nothing in this process has used either of them yet.
    let (control, table) = unsafe { (OwnedFd::from_raw_fd(0), OwnedFd::from_raw_fd(1)) };
    root::run(control, table)
}
