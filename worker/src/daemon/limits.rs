//! Clocks of running tests: when one is killed for its length, and when it gives back what waits behind it. The hard
//! timeout of a command is its keeper's; here is that of runners.

use std::time::{Duration, Instant};

use remuda_protocol::spec::GroupSpec;

use super::Daemon;
use crate::loader::process::Killed;

impl Daemon {
    /// Kills tests past their timeout; takes back what waits behind a long one.
    pub(super) fn tick_timeouts(&mut self, now: Instant) {
        for slot in 0..self.settings.slots {
            let it = &self.slots[slot as usize];
            let Some(running) = it.running() else { continue };
            let Some(age) = running.started.map(|s| now.saturating_duration_since(s)) else { continue };
            let Some(super::jobs::Job::Ready(spec)) = self.jobs.get(&running.job) else { continue };
            let group = &spec.groups[running.group as usize];
            let loader = it.runner.as_ref().and_then(|r| self.loaders.get(&r.loader));
            let asked = loader.and_then(|l| l.options.group_by.as_deref()).is_none_or(|by| by == "test");
            let (timeout, splits) = (patience(group), asked && splits(&group.adapter));
            let long = if it.runner.is_some() { LONG_IN_SUITE } else { LONG };
            if age > long && splits && it.queue.len() > 1 {
                self.drop_unstarted(slot);
            }
            if self.slots[slot as usize].runner.is_some() && timeout.is_some_and(|limit| age > limit) {
                self.kill_runner(slot, Killed::Timeout);
            }
        }
    }
}

/// A test that runs longer than this gives back what waits behind it.
const LONG: Duration = Duration::from_secs(1);
/// The same in a suite, where the first test of a module also sets up what the ones behind it share: given back too
/// soon, they would have it set up again elsewhere.
const LONG_IN_SUITE: Duration = Duration::from_secs(5);
/// What a bridge may take beyond a test's timeout to end one native runner and start another.
const BRIDGE_LIMIT: Duration = Duration::from_secs(90);

/// After how long a runner is killed for its test. A bridge keeps the timeout itself, because only it can tell a test
/// from a restart before it; this is for one that does not.
pub(super) fn patience(group: &GroupSpec) -> Option<Duration> {
    if group.adapter.keeps_time() {
        return None;
    }
    let bridged = matches!(group.adapter, remuda_protocol::spec::Adapter::Abq { .. });
    let limit = Duration::from_millis(group.timeout_ms?);
    Some(if bridged { limit + BRIDGE_LIMIT } else { limit })
}

fn splits(adapter: &remuda_protocol::spec::Adapter) -> bool {
    use remuda_protocol::spec::{Adapter, GroupBy};
    !matches!(adapter, Adapter::Pytest { group_by, .. } | Adapter::Rspec { group_by, .. } if *group_by != GroupBy::Test)
}
