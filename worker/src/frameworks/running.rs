//! The process that a slot has in hand: its tests, the one that has begun, and the limits of both. `slot` starts it,
//! reads it and judges; here only time is minded.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::Launch;
use super::child::Child;

/// The process in hand.
pub(super) struct Running {
    pub(super) launch: Launch,
    pub(super) child: Child,
    /// Its tests without a result.
    pub(super) open: HashSet<u32>,
    /// The test that has begun and not ended, and since when.
    pub(super) current: Option<(u32, Instant)>,
    /// When the next test began at the earliest: the end of the last one.
    pub(super) last: Instant,
    /// When it was told to end, and why.
    pub(super) told: Option<Instant>,
    pub(super) late: Option<Late>,
}

/// Which limit was passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Late {
    Test(u32, Duration),
    Whole(Duration),
}

impl Running {
    /// The next limit, and whose it is.
    pub(super) fn limit(&self) -> Option<(Instant, Late)> {
        let limits = &self.launch.limits;
        let of_test = self.current.and_then(|(test, since)| {
            let limit = limits.test?;
            Some((since.checked_add(limit)?, Late::Test(test, limit)))
        });
        let of_whole = limits.whole.and_then(|limit| Some((self.child.since.checked_add(limit)?, Late::Whole(limit))));
        [of_test, of_whole].into_iter().flatten().min_by_key(|(at, _)| *at)
    }

    pub(super) fn mind_limits(&mut self, now: Instant) {
        match self.told {
            Some(told) if now >= told + self.launch.limits.grace => {
                self.child.signal(Signal::SIGKILL);
                // not asked for again
                self.told = now.checked_add(Duration::from_secs(86_400));
            }
            Some(_) => {}
            None => {
                if let Some((at, late)) = self.limit()
                    && now >= at
                {
                    (self.told, self.late) = (Some(now), Some(late));
                    let signal = if self.launch.limits.grace.is_zero() { Signal::SIGKILL } else { Signal::SIGTERM };
                    self.child.signal(signal);
                }
            }
        }
    }
}
