//! The last words of a run: counts, slots and how close to ideal it was. Pure.

use std::time::Duration;

use remuda_protocol::outcome::Outcome;

use super::text::{count, length};

/// A run that took less is not measured against the ideal.
const LONG: Duration = Duration::from_secs(5);
/// Neither is one that no scheduler could have made longer than this, µs.
const MUCH_US: u64 = 1_000_000;

/// Totals of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// What tasks are called: `test` or `task`.
    pub noun: &'static str,
    /// From start to end.
    pub wall: Duration,
    /// Ended tasks by outcome, in the order of [`Outcome::ALL`].
    pub counts: [u32; 7],
    /// Passed after a retry.
    pub flaky: u32,
    /// Of the skipped: failed, as expected of them.
    pub xfailed: u32,
    /// Fixtures that failed after their last test had been reported.
    pub late: u32,
    /// Slots that took part.
    pub slots: usize,
    /// Workers that took part.
    pub workers: usize,
    /// Time of all attempts, µs.
    pub busy_us: u64,
    /// The longest attempt, µs.
    pub longest_us: u64,
    /// Where the whole log is.
    pub log: String,
    /// Exit code.
    pub exit: u8,
    /// Why the run ended as it did, where the counts do not say it.
    pub because: String,
}

impl Summary {
    /// How many ended so.
    #[must_use]
    pub fn count(&self, outcome: Outcome) -> u32 {
        Outcome::ALL.iter().position(|o| *o == outcome).map_or(0, |at| self.counts[at])
    }

    /// All tasks.
    #[must_use]
    pub fn total(&self) -> u32 {
        self.counts.iter().sum()
    }

    /// The time no scheduler could beat (the longest task, or all of them spread over the slots) as part of the time
    /// it took, in percent.
    #[must_use]
    pub fn percent_of_ideal(&self) -> Option<u32> {
        let wall = u64::try_from(self.wall.as_micros()).unwrap_or(u64::MAX);
        if self.slots == 0 || self.busy_us == 0 || wall == 0 {
            return None;
        }
        let ideal = self.longest_us.max(self.busy_us / self.slots as u64);
        // clocks of several machines may disagree a little; nothing is better than ideal
        u32::try_from(ideal.saturating_mul(100) / wall).ok().map(|p| p.min(100))
    }

    /// The same where it says something: of a short run, or one with little to do, start-up is most.
    fn worth_saying(&self) -> Option<u32> {
        let ideal = self.longest_us.max(self.busy_us.checked_div(self.slots as u64).unwrap_or(0));
        self.percent_of_ideal().filter(|_| self.wall >= LONG && ideal >= MUCH_US)
    }

    /// `540 tests: 538 passed (2 flaky), 1 failed, 1 skipped; 8 slots on 3 workers, 96 % of ideal`.
    #[must_use]
    pub fn sentence(&self) -> String {
        if self.total() == 0 && self.late == 0 {
            return format!("no {}s were run", self.noun);
        }
        let mut parts = Vec::new();
        for outcome in Outcome::ALL {
            let n = self.count(outcome);
            if outcome == Outcome::Passed && self.flaky > 0 {
                parts.push(format!("{n} passed ({} flaky)", self.flaky));
            } else if outcome == Outcome::Skipped && self.xfailed > 0 {
                parts.push(format!("{n} skipped ({} xfailed)", self.xfailed));
            } else if n > 0 || outcome == Outcome::Passed {
                let word = if outcome == Outcome::Cancelled { "not finished" } else { outcome.word() };
                parts.push(format!("{n} {word}"));
            }
        }
        if self.late > 0 {
            parts.push(count(self.late.into(), "late teardown error"));
        }
        let mut text = format!("{}: {}", count(self.total().into(), self.noun), parts.join(", "));
        if self.slots > 0 {
            text.push_str(&format!(
                "; {} on {}",
                count(self.slots as u64, "slot"),
                count(self.workers as u64, "worker")
            ));
        }
        if let Some(percent) = self.worth_saying() {
            text.push_str(&format!(", {percent} % of ideal"));
        }
        text
    }

    /// `[ 12.3s ]`.
    #[must_use]
    pub fn took(&self) -> String {
        format!("[ {} ]", length(self.wall))
    }

    /// Nothing failed.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.exit == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary() -> Summary {
        Summary {
            noun: "test",
            wall: Duration::from_millis(12_300),
            counts: [538, 1, 0, 0, 0, 1, 0],
            flaky: 2,
            slots: 8,
            workers: 3,
            busy_us: 94_464_000,
            longest_us: 3_000_000,
            ..Summary::default()
        }
    }

    #[test]
    fn the_summary_has_the_shape_of_the_design() {
        let summary = summary();
        assert_eq!(
            format!("Summary {} {}", summary.took(), summary.sentence()),
            "Summary [ 12.3s ] 540 tests: 538 passed (2 flaky), 1 failed, 1 skipped; 8 slots on 3 workers, 96 % of ideal"
        );
    }

    #[test]
    fn one_long_test_is_the_ideal_when_it_outlasts_the_rest() {
        let long = Summary { busy_us: 13_000_000, longest_us: 12_000_000, ..summary() };
        assert_eq!(long.percent_of_ideal(), Some(97));
        assert_eq!(Summary { busy_us: 0, ..summary() }.percent_of_ideal(), None);
    }

    #[test]
    fn a_short_run_and_one_with_little_to_do_are_not_measured_against_the_ideal() {
        let short = Summary { wall: Duration::from_millis(900), ..summary() };
        let little = Summary { busy_us: 400_000, longest_us: 90_000, ..summary() };
        for run in [short, little] {
            assert!(run.sentence().ends_with("; 8 slots on 3 workers"), "{}", run.sentence());
        }
    }

    #[test]
    fn a_run_without_tests_counts_none() {
        assert_eq!(Summary { noun: "test", ..Summary::default() }.sentence(), "no tests were run");
    }

    #[test]
    fn what_did_not_finish_is_said_so() {
        let stopped =
            Summary { counts: [0, 1, 0, 0, 0, 0, 7], flaky: 0, slots: 1, workers: 1, busy_us: 0, ..summary() };
        assert_eq!(stopped.sentence(), "8 tests: 0 passed, 1 failed, 7 not finished; 1 slot on 1 worker");
    }
}
