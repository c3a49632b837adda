//! What each slot ran and when, in a bounded number of stretches: the more there is, the coarser neighbours are
//! joined. A joined stretch has the colour of its worst test. Only numbers; `page` draws them.

use std::collections::BTreeMap;

use crate::report::Attempt;

/// Most stretches of all slots together.
const MOST: usize = 20_000;
/// Most slots that are drawn.
const SLOTS: usize = 500;

/// A stretch of one slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stretch {
    /// From, µs after the start.
    pub from: u64,
    /// To.
    pub to: u64,
    /// How bad its worst test is; see [`badness`].
    pub worst: u8,
    /// Tests in it.
    pub tests: u32,
    /// Group and task number of the first.
    pub task: (u32, u32),
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Timeline {
    slots: BTreeMap<(String, String, String), Vec<Stretch>>,
    total: usize,
    resolution: u64,
    /// Slots that were too many to draw.
    pub missing: usize,
    /// When things ran is not known.
    pub stacked: bool,
}

/// 0 passed, 1 skipped or cancelled, 2 flaky, 3 failed.
#[must_use]
pub(super) fn badness(attempt: &Attempt) -> u8 {
    use remuda_protocol::outcome::Outcome;
    match attempt.outcome {
        Outcome::Passed if attempt.is_flaky() => 2,
        Outcome::Passed => 0,
        Outcome::Skipped | Outcome::Cancelled => 1,
        _ => 3,
    }
}

impl Timeline {
    /// Takes in an attempt that ended at `to`, µs after the start. `worst`: one that will be tried again is flaky.
    pub(super) fn push(&mut self, attempt: &Attempt, to: u64, worst: u8) {
        let Some(place) = &attempt.place else { return };
        let key = (place.host.clone(), place.worker.clone(), place.slot.clone());
        if self.slots.len() >= SLOTS && !self.slots.contains_key(&key) {
            self.missing += 1;
            return;
        }
        let from = to.saturating_sub(attempt.us);
        let stretch = Stretch { from, to: to.max(from + 1), worst, tests: 1, task: attempt.task };
        let slot = self.slots.entry(key).or_default();
        let before = slot.len();
        join(slot, stretch, self.resolution);
        self.total += slot.len() - before;
        if self.total > MOST {
            self.coarsen();
        }
    }

    /// A job that is told again has no times of its own: what each slot ran is laid end to end.
    pub(super) fn restack(&mut self) {
        self.stacked = true;
        for stretches in self.slots.values_mut() {
            let mut end = 0;
            for stretch in stretches {
                let us = stretch.to - stretch.from;
                (stretch.from, stretch.to) = (end, end + us);
                end += us;
            }
        }
    }

    fn coarsen(&mut self) {
        while self.total > MOST / 2 {
            self.resolution = (self.resolution * 2).max(1_000);
            self.total = 0;
            for slot in self.slots.values_mut() {
                let mut coarse = Vec::new();
                for stretch in std::mem::take(slot) {
                    join(&mut coarse, stretch, self.resolution);
                }
                self.total += coarse.len();
                *slot = coarse;
            }
            if self.total <= self.slots.len() {
                return;
            }
        }
    }

    /// Each slot's label and stretches; slots of one host together.
    pub(super) fn slots(&self) -> impl Iterator<Item = (String, &[Stretch])> {
        let mut workers: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (host, worker, _) in self.slots.keys() {
            workers.entry(host).or_default().push(worker);
        }
        workers.values_mut().for_each(Vec::dedup);
        self.slots.iter().map(move |((host, worker, slot), stretches)| {
            let worker: String = worker.chars().take(4).collect();
            let several = workers.get(host.as_str()).is_some_and(|w| w.len() > 1);
            let label = if several { format!("{host}:{worker}/{slot}") } else { format!("{host}/{slot}") };
            (label, &stretches[..])
        })
    }
}

/// Adds a stretch, or joins it to the last where the eye could not tell them apart.
fn join(slot: &mut Vec<Stretch>, next: Stretch, resolution: u64) {
    if let Some(last) = slot.last_mut() {
        let near = next.from < last.to.saturating_add(resolution);
        let small = next.to - next.from < resolution || last.to - last.from < resolution;
        if near && small {
            last.to = last.to.max(next.to);
            last.from = last.from.min(next.from);
            last.worst = last.worst.max(next.worst);
            last.tests += next.tests;
            return;
        }
    }
    slot.push(next);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Place;
    use crate::report::testing::{attempt, failed};
    use remuda_protocol::outcome::Outcome;

    fn on(slot: u32, us: u64, mut attempt: Attempt) -> Attempt {
        let slot = slot.to_string();
        attempt.place = Some(Place { worker: "w".into(), host: "h".into(), slot, number: 0 });
        Attempt { us, ..attempt }
    }

    #[test]
    fn few_tests_are_drawn_one_by_one() {
        let mut timeline = Timeline::default();
        for n in 0..10_u64 {
            timeline.push(&on(0, 900, attempt("t", Outcome::Passed)), (n + 1) * 1_000, 0);
        }
        let slots: Vec<_> = timeline.slots().collect();
        assert_eq!((slots[0].0.as_str(), slots[0].1.len()), ("h/0", 10));
        assert_eq!((slots[0].1[1].from, slots[0].1[1].to), (1_100, 2_000));
    }

    #[test]
    fn without_times_of_their_own_tests_stand_end_to_end() {
        let mut timeline = Timeline::default();
        for us in [500, 200] {
            timeline.push(&on(0, us, attempt("t", Outcome::Passed)), 9_000_000, 0);
        }
        timeline.restack();
        let slots: Vec<_> = timeline.slots().collect();
        assert_eq!(slots[0].1.iter().map(|s| (s.from, s.to)).collect::<Vec<_>>(), [(0, 500), (500, 700)]);
    }

    #[test]
    fn many_tests_are_joined_and_a_failure_among_them_still_shows() {
        let mut timeline = Timeline::default();
        for n in 0..200_000_u64 {
            let test = if n == 77_777 { failed("bad") } else { attempt("t", Outcome::Passed) };
            let worst = badness(&test);
            timeline.push(&on(u32::try_from(n % 8).unwrap(), 90, test), n * 100, worst);
        }
        let slots: Vec<_> = timeline.slots().collect();
        assert!(slots.iter().map(|s| s.1.len()).sum::<usize>() <= MOST);
        assert_eq!(slots.iter().flat_map(|s| s.1).map(|s| s.tests).sum::<u32>(), 200_000);
        assert_eq!(slots.iter().flat_map(|s| s.1).filter(|s| s.worst == 3).count(), 1);
    }
}
