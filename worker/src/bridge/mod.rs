//! What every bridge shares: a process that is a loader of ours to the daemon (docs/runner-protocol.md), and something
//! else to what it bridges to.
//!
//! ```text
//! daemon (keeper)
//!   │ control socket   loader.rs: subreaper ──► collects
//!   │                    │ fork, no exec
//!   │ runner socket      ├─► slot 0: subreaper ──► test processes
//!   │ runner socket      └─► slot 1   …        ──► …
//! ```
//!
//! `loader.rs` is the loader's side, `orders.rs` what slots are asked, `wire.rs` the frames. What is collected and what a
//! slot does is the backend's: `abq` and `frameworks`. Every process here has one thread and no runtime, and ends with its parent, as all that is
//! beneath a keeper.

pub(crate) mod loader;
pub(crate) mod orders;
pub(crate) mod wire;

use std::time::Duration;

use nix::poll::PollTimeout;
use nix::sys::signal::Signal;

/// Milliseconds for `poll`, rounded up.
pub(crate) fn timeout(left: Duration) -> PollTimeout {
    PollTimeout::try_from(left.as_millis() + 1).unwrap_or(PollTimeout::MAX)
}

/// A wait status in words.
pub(crate) fn ended_how(status: i32) -> String {
    match status & 0x7f {
        0 => format!("exit code {}", (status >> 8) & 0xff),
        signal => format!(
            "killed by {}",
            Signal::try_from(signal).map_or_else(|_| format!("signal {signal}"), |s| s.as_str().to_owned())
        ),
    }
}
