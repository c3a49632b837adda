//! What each worker did in a run: tests, time to the first, busy share, losses. Facts in, rows out; the console and
//! the files show them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use remuda_protocol::spec::GroupKind;

use super::text::length;
use super::{Attempt, Fact, Place};

/// Workers' names are cut to this in the table.
const NAME: usize = 24;
/// Of a worker's id this much tells it from others of its host.
const ID: usize = 8;

/// One worker's part.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Part {
    /// Its id.
    pub worker: String,
    /// Its host.
    pub host: String,
    /// Tests that ended there.
    pub tests: u32,
    /// When its first test began, after the start of the run, if that is known.
    pub first: Option<Duration>,
    /// Time of all its attempts, µs.
    pub busy_us: u64,
    /// Tasks that went back because it died or was cut off.
    pub losses: u32,
    slots: BTreeSet<String>,
}

impl Part {
    /// The share of its slots' time in which they ran tests, in percent.
    #[must_use]
    pub fn busy_percent(&self, wall: Duration) -> u64 {
        let wall = u64::try_from(wall.as_micros()).unwrap_or(u64::MAX).saturating_mul(self.slots.len() as u64);
        self.busy_us.saturating_mul(100).checked_div(wall).unwrap_or(0).min(100)
    }

    /// Slots that took part.
    #[must_use]
    pub fn slots(&self) -> usize {
        self.slots.len()
    }
}

/// All of them, by worker id.
#[derive(Clone, Debug, Default)]
pub struct Workers {
    parts: BTreeMap<String, Part>,
    /// It is not known when tests began.
    timeless: bool,
}

impl Workers {
    /// What is told now may have happened long ago.
    pub fn join_late(&mut self) {
        self.timeless = true;
    }

    /// Takes a fact in.
    pub fn fact(&mut self, fact: &Fact, at: Duration) {
        match fact {
            Fact::Ended(attempt) => self.ended(attempt, at, 1),
            Fact::Tried(attempt) => self.ended(attempt, at, 0),
            Fact::Back { lost: true, place: Some(place), .. } => {
                let part = self.part(place);
                part.losses += 1;
            }
            _ => {}
        }
    }

    fn ended(&mut self, attempt: &Attempt, at: Duration, tests: u32) {
        let Some(place) = attempt.place.as_ref().filter(|_| attempt.kind == GroupKind::Tests) else { return };
        let timeless = self.timeless;
        let part = self.part(place);
        part.tests += tests;
        part.busy_us += attempt.us;
        let began = at.saturating_sub(Duration::from_micros(attempt.us));
        part.first = (!timeless).then(|| part.first.map_or(began, |first| first.min(began)));
        if !part.slots.contains(&place.slot) {
            part.slots.insert(place.slot.clone());
        }
    }

    fn part(&mut self, place: &Place) -> &mut Part {
        let new = || Part { worker: place.worker.clone(), ..Part::default() };
        let part = self.parts.entry(place.worker.clone()).or_insert_with(new);
        if part.host != place.host {
            part.host.clone_from(&place.host);
        }
        part
    }

    /// What people call a worker: its host, and where several are on one host the beginning of its id.
    #[must_use]
    pub fn name(&self, part: &Part) -> String {
        let alone = self.parts.values().filter(|other| other.host == part.host).count() == 1;
        let cut = |text: &str, most| text.chars().take(most).collect::<String>();
        if alone {
            return cut(&part.host, NAME);
        }
        format!("{} {}", cut(&part.host, NAME - ID - 1), cut(&part.worker, ID))
    }

    /// The parts, those of one host together.
    #[must_use]
    pub fn parts(&self) -> Vec<&Part> {
        let mut parts: Vec<&Part> = self.parts.values().collect();
        parts.sort_by(|a, b| a.host.cmp(&b.host).then(b.tests.cmp(&a.tests)));
        parts
    }

    /// The table for people, narrow enough for 40 columns.
    #[must_use]
    pub fn table(&self, wall: Duration, noun: &str) -> String {
        let parts = self.parts();
        let widest = parts.iter().map(|p| self.name(p).chars().count()).max().unwrap_or(0).max(12);
        let mut text =
            format!("{:>widest$} {:>6} {:>6} {:>6} {:>4}\n", "Workers", format!("{noun}s"), "first", "busy", "lost");
        for part in parts {
            let first = part.first.map_or_else(|| "-".to_owned(), length);
            text.push_str(&format!(
                "{:>widest$} {:>6} {first:>6} {:>4} % {:>4}\n",
                self.name(part),
                part.tests,
                part.busy_percent(wall),
                part.losses
            ));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::testing::attempt;
    use remuda_protocol::outcome::Outcome;

    fn on(host: &str, slot: &str, us: u64) -> Attempt {
        let place = Place { worker: format!("w-{host}"), host: host.into(), slot: slot.into(), number: 0 };
        Attempt { us, place: Some(place), ..attempt("t", Outcome::Passed) }
    }

    #[test]
    fn workers_of_one_host_are_told_apart_by_their_ids() {
        let mut workers = Workers::default();
        for (worker, host) in [("4f6e0c1a-1", "lab1"), ("9b2d77e3-2", "lab1"), ("11111111-3", "lab2")] {
            let place = Place { worker: worker.into(), host: host.into(), ..Place::default() };
            let ended = Attempt { place: Some(place), ..attempt("t", Outcome::Passed) };
            workers.fact(&Fact::Ended(ended), Duration::from_secs(1));
        }
        let table = workers.table(Duration::from_secs(2), "test");
        let names: Vec<_> = table.lines().skip(1).map(|line| line.split("      1").next().unwrap().trim()).collect();
        assert_eq!(names, ["lab1 4f6e0c1a", "lab1 9b2d77e3", "lab2"], "{table}");
        assert!(table.lines().all(|line| line.chars().count() <= 40), "{table}");
    }

    #[test]
    fn every_worker_has_its_line() {
        let mut workers = Workers::default();
        for (attempt, at) in [(on("lab2", "0", 500_000), 1_500), (on("lab1", "0", 900_000), 1_000)] {
            workers.fact(&Fact::Ended(attempt), Duration::from_millis(at));
        }
        workers.fact(&Fact::Tried(on("lab1", "1", 900_000)), Duration::from_millis(2_000));
        let place = on("lab2", "0", 0).place;
        let lost = Fact::Back { group: "g".into(), id: "t".into(), lost: true, fence: 1, place };
        workers.fact(&lost, Duration::from_secs(2));
        let table = workers.table(Duration::from_secs(2), "test");
        let expected = "     Workers  tests  first   busy lost\n        lab1      1   0.1s   45 %    0\n        lab2      1   1.0s   25 %    1\n";
        assert_eq!(table, expected);
        assert!(table.lines().all(|line| line.chars().count() <= 40));
    }
}
