//! Events: one fact about a job a line, numbered (epoch, n), as the scripts emit them.
//!
//! The text form is what `store/src/scripts` writes into a job's stream and publishes; `docs/protocol.md` lists it
//! for other languages. Reports and consoles only read these; they decide nothing.

use crate::outcome::Outcome;

/// The number of an event batch: the epoch rises when the server behind the address changes or restarts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Sequence {
    /// Rises with every new server run.
    pub epoch: u64,
    /// Rises by one with every batch.
    pub n: u64,
}

impl Sequence {
    /// Parses `epoch-n`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (epoch, n) = text.split_once('-')?;
        Some(Self { epoch: epoch.parse().ok()?, n: n.parse().ok()? })
    }

    /// Whether `self` directly follows `previous` with nothing between them.
    #[must_use]
    pub fn follows(self, previous: Self) -> bool {
        self.epoch == previous.epoch && self.n == previous.n + 1
    }
}

impl std::fmt::Display for Sequence {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.epoch, self.n)
    }
}

/// Why a task went back to its lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Requeue {
    /// It failed and had retries left.
    Retry,
    /// Its lease ended without a result.
    Lost,
    /// Claimed and not started, given back.
    Yield,
}

/// One fact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// `+ group first count`: tasks were added.
    Added {
        /// Group number.
        group: u32,
        /// Number of the first task.
        first: u32,
        /// How many.
        count: u32,
    },
    /// `> group fence first count place worker slot`: a slot claimed tasks.
    Claimed {
        /// Group number.
        group: u32,
        /// Fence of the claim.
        fence: u64,
        /// First task.
        first: u32,
        /// How many.
        count: u32,
        /// Slot number unique in the job.
        place: u32,
        /// Worker id.
        worker: String,
        /// Slot of that worker.
        slot: String,
    },
    /// `= group task outcome fence us place [d|-] [wN]`: a task reached its end.
    Ended {
        /// Group number.
        group: u32,
        /// Task number.
        task: u32,
        /// How.
        outcome: Outcome,
        /// Fence of the attempt, 0 if none.
        fence: u64,
        /// Duration in µs.
        us: u64,
        /// Slot number unique in the job.
        place: u32,
        /// Whether a detail is stored; `None`: there was one, but the job's budget for details is used up.
        detail: Option<bool>,
        /// Part of `us` that set up wider fixtures, µs.
        wide_us: u64,
    },
    /// `- group task outcome fence us place [d|-] [wN]`: an attempt failed; the task will be tried again.
    Tried {
        /// Group number.
        group: u32,
        /// Task number.
        task: u32,
        /// How the attempt ended.
        outcome: Outcome,
        /// Fence of the attempt.
        fence: u64,
        /// Duration in µs.
        us: u64,
        /// Slot number unique in the job.
        place: u32,
        /// As in `Ended`.
        detail: Option<bool>,
        /// As in `Ended`.
        wide_us: u64,
    },
    /// `~ group task why fence`: a task went back to its lane.
    Requeued {
        /// Group number.
        group: u32,
        /// Task number.
        task: u32,
        /// Why.
        why: Requeue,
        /// Fence of the attempt that ended.
        fence: u64,
    },
    /// `G group state [reason]`: a group changed.
    Group {
        /// Group number.
        group: u32,
        /// Its state word.
        state: String,
        /// Why, where there is a why.
        reason: String,
    },
    /// `J state [reason]`: the job changed.
    Job {
        /// Its state word.
        state: String,
        /// Why, where there is a why.
        reason: String,
    },
    /// `! worker others reason`: a worker cannot run the job; others go on.
    Refused {
        /// Worker id.
        worker: String,
        /// Other workers that fit.
        others: u32,
        /// Why.
        reason: String,
    },
}

impl Event {
    /// Parses one line; `None` for a line of a newer protocol.
    #[must_use]
    pub fn parse(line: &str) -> Option<Self> {
        let mut words = line.split(' ');
        let kind = words.next()?;
        match kind {
            "+" => {
                Some(Self::Added { group: number(&mut words)?, first: number(&mut words)?, count: number(&mut words)? })
            }
            ">" => Some(Self::Claimed {
                group: number(&mut words)?,
                fence: number(&mut words)?,
                first: number(&mut words)?,
                count: number(&mut words)?,
                place: number(&mut words)?,
                worker: words.next()?.to_owned(),
                slot: words.next()?.to_owned(),
            }),
            "=" | "-" => parse_result(kind, &mut words),
            "~" => Some(Self::Requeued {
                group: number(&mut words)?,
                task: number(&mut words)?,
                why: match words.next()? {
                    "retry" => Requeue::Retry,
                    "lost" => Requeue::Lost,
                    _ => Requeue::Yield,
                },
                fence: number(&mut words)?,
            }),
            "G" => {
                Some(Self::Group { group: number(&mut words)?, state: words.next()?.to_owned(), reason: rest(words) })
            }
            "!" => Some(Self::Refused {
                worker: words.next()?.to_owned(),
                others: number(&mut words)?,
                reason: rest(words),
            }),
            "J" => Some(Self::Job { state: words.next()?.to_owned(), reason: rest(words) }),
            _ => None,
        }
    }

    /// Parses a whole batch.
    pub fn parse_batch(text: &str) -> impl Iterator<Item = Self> + '_ {
        text.lines().filter_map(Self::parse)
    }
}

fn number<'a, T: std::str::FromStr>(words: &mut impl Iterator<Item = &'a str>) -> Option<T> {
    words.next()?.parse().ok()
}

fn rest<'a>(words: impl Iterator<Item = &'a str>) -> String {
    words.collect::<Vec<_>>().join(" ")
}

fn parse_result<'a>(kind: &str, words: &mut impl Iterator<Item = &'a str>) -> Option<Event> {
    let (group, task) = (number(words)?, number(words)?);
    let outcome = Outcome::from_letter(words.next()?.chars().next()?)?;
    let (fence, us, place) = (number(words)?, number(words)?, number(words)?);
    let (mut detail, mut wide_us) = (Some(false), 0);
    for word in words {
        match word {
            "d" => detail = Some(true),
            "-" => detail = None,
            _ => wide_us = word.strip_prefix('w').and_then(|w| w.parse().ok()).unwrap_or(0),
        }
    }
    Some(if kind == "=" {
        Event::Ended { group, task, outcome, fence, us, place, detail, wide_us }
    } else {
        Event::Tried { group, task, outcome, fence, us, place, detail, wide_us }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_scripts_are_understood() {
        assert_eq!(Event::parse("+ 0 100 50"), Some(Event::Added { group: 0, first: 100, count: 50 }));
        let ended = Event::Ended {
            group: 1,
            task: 7,
            outcome: Outcome::Failed,
            fence: 12,
            us: 800,
            place: 3,
            detail: Some(true),
            wide_us: 40,
        };
        assert_eq!(Event::parse("= 1 7 F 12 800 3 d w40"), Some(ended));
        assert_eq!(
            Event::parse("G 2 skipped needs group 1, which failed"),
            Some(Event::Group { group: 2, state: "skipped".into(), reason: "needs group 1, which failed".into() })
        );
        assert_eq!(
            Event::parse("! w1 2 host a has no such folder"),
            Some(Event::Refused { worker: "w1".into(), others: 2, reason: "host a has no such folder".into() })
        );
        assert_eq!(Event::parse("? what"), None);
    }

    #[test]
    fn a_gap_in_the_sequence_is_seen() {
        let (a, b) = (Sequence::parse("1-4").unwrap(), Sequence::parse("1-5").unwrap());
        assert!(b.follows(a));
        assert!(!Sequence::parse("2-6").unwrap().follows(b));
    }
}
