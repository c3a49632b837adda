//! Ends of runners and loaders wait here for the last that they had to say. Who ended is told over one way and what it
//! said over another, so an end may overtake results; blamed too early, a test that passed would be called guilty.
//!
//! `suites` and `closing` decide what an end means; here is only when.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use remuda_protocol::outcome::Detail;

use super::Daemon;
use crate::loader::process::Phase;

/// All processes that could still speak are dead by then, and what they wrote is there: a stream that somebody else
/// holds open (a bridge, perhaps) is not waited for any longer.
const PATIENCE: Duration = Duration::from_millis(500);

/// A runner that ended.
#[derive(Clone, Copy, Debug)]
pub(super) struct RunnerEnd {
    pub(super) slot: u32,
    pub(super) loader: u64,
    pub(super) status: i32,
}

/// Streams that are open, and the ends that wait for them.
#[derive(Debug, Default)]
pub(super) struct Departures {
    /// Generations of runners.
    runners: HashSet<u64>,
    loaders: HashSet<u64>,
    runner_ends: HashMap<u64, (Instant, RunnerEnd)>,
    loader_ends: HashMap<u64, (Instant, Detail, bool)>,
}

impl Departures {
    pub(super) fn runner_speaks(&mut self, generation: u64) {
        self.runners.insert(generation);
    }

    pub(super) fn loader_speaks(&mut self, id: u64) {
        self.loaders.insert(id);
    }

    pub(super) fn runner_said_all(&mut self, generation: u64) {
        self.runners.remove(&generation);
    }

    pub(super) fn loader_said_all(&mut self, id: u64) {
        self.loaders.remove(&id);
    }

    pub(super) fn runner_ended(&mut self, generation: u64, end: RunnerEnd) {
        self.runner_ends.insert(generation, (Instant::now(), end));
    }

    pub(super) fn loader_ended(&mut self, id: u64, detail: Detail, given_back: bool) {
        self.loader_ends.insert(id, (Instant::now(), detail, given_back));
    }

    /// Whether any end is known that has not been acted on.
    pub(super) fn is_empty(&self) -> bool {
        self.runner_ends.is_empty() && self.loader_ends.is_empty()
    }
}

impl Daemon {
    /// Acts on the ends of those who have said all.
    pub(super) fn tick_departures(&mut self, now: Instant) {
        let late = |since: &Instant| now.saturating_duration_since(*since) > PATIENCE;
        let it = &self.departures;
        let runners: Vec<u64> = it
            .runner_ends
            .iter()
            .filter(|(generation, (since, _))| late(since) || !it.runners.contains(generation))
            .map(|(&generation, _)| generation)
            .collect();
        for generation in runners {
            self.departures.runners.remove(&generation);
            if let Some((_, end)) = self.departures.runner_ends.remove(&generation) {
                self.on_runner_end(generation, end);
            }
        }
        let it = &self.departures;
        let loaders: Vec<u64> = it
            .loader_ends
            .iter()
            .filter(|(id, (since, ..))| late(since) || !(it.loaders.contains(id) || self.has_speaking_runners(**id)))
            .filter(|(id, _)| !self.seals_nothing(**id))
            .map(|(&id, _)| id)
            .collect();
        for id in loaders {
            self.departures.loaders.remove(&id);
            if let Some((_, detail, given_back)) = self.departures.loader_ends.remove(&id) {
                self.on_loader_end(id, &detail, given_back);
            }
        }
    }

    /// Whether a loader found no tests, and the group is being sealed without any: its end is no failure to collect.
    fn seals_nothing(&self, loader: u64) -> bool {
        self.loaders.get(&loader).is_some_and(|l| l.phase == Phase::Adding && l.positions.is_empty())
    }

    fn has_speaking_runners(&self, loader: u64) -> bool {
        let current = self.slots.iter().filter_map(|s| s.runner.as_ref()).filter(|r| r.loader == loader);
        let retired = self.loaders.get(&loader).into_iter().flat_map(|l| &l.retired);
        let mut generations = current.map(|r| r.generation).chain(retired.map(|r| r.generation));
        generations.any(|generation| self.departures.runners.contains(&generation))
    }
}
