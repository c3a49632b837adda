//! Which tests a page lists: every failure and flaky test up to a bound, and of the others the slowest. Bounded in
//! number and in bytes, whatever the run was.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use remuda_protocol::item::Item;

use super::timeline::badness;
use crate::report::Attempt;

/// Most failures and flaky tests.
const BAD: usize = 5_000;
/// Most of the others.
const OTHERS: usize = 20_000;
/// Most characters of a name.
const NAME: usize = 300;
/// Most bytes of all outputs.
const OUTPUT: usize = 8 << 20;
/// Most bytes of one.
const ONE: usize = 32 << 10;

/// A test of the list.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Row {
    /// µs.
    pub us: u64,
    /// Group and task number.
    pub task: (u32, u32),
    /// Its name.
    pub name: String,
    /// Its group.
    pub group: String,
    /// The outcome's letter; `K` for flaky.
    pub outcome: char,
    /// When it began, µs after the start, if that is known.
    pub from: Option<u64>,
    /// Where.
    pub place: String,
    /// How often it was tried.
    pub attempts: u32,
}

/// A failure with what it left behind.
#[derive(Clone, Debug)]
pub(super) struct Failure {
    /// The test.
    pub row: Row,
    /// One line that says why.
    pub why: String,
    /// Titled output.
    pub output: Vec<(String, String)>,
    /// The line that runs it again.
    pub again: String,
}

/// What has been kept.
#[derive(Debug, Default)]
pub(super) struct Rows {
    /// Failures, in the order in which they came.
    pub failures: Vec<Failure>,
    flaky: Vec<Row>,
    others: BinaryHeap<Reverse<Row>>,
    bytes: usize,
    /// Tests in all.
    pub total: usize,
    /// Failures and flaky tests that are not listed.
    pub not_listed: usize,
}

impl Rows {
    /// Takes in a test that ended at `to`, µs after the start.
    pub(super) fn push(&mut self, attempt: &Attempt, to: u64, again: impl FnOnce() -> String) {
        self.total += 1;
        let worst = badness(attempt);
        if worst < 2 && self.others.len() >= OTHERS && self.others.peek().is_some_and(|r| r.0.us >= attempt.us) {
            return;
        }
        let row = row(attempt, to);
        match worst {
            3 if self.failures.len() < BAD => {
                let output = self.output(attempt);
                self.failures.push(Failure { row, why: attempt.why(), output, again: again() });
            }
            2 if self.flaky.len() < BAD => self.flaky.push(row),
            2 | 3 => self.not_listed += 1,
            _ => {
                self.others.push(Reverse(row));
                if self.others.len() > OTHERS {
                    self.others.pop();
                }
            }
        }
    }

    fn output(&mut self, attempt: &Attempt) -> Vec<(String, String)> {
        let detail = &attempt.detail;
        let text = [(String::new(), detail.text.clone())];
        let parts = text.into_iter().chain(detail.sections.iter().cloned()).filter(|p| !p.1.trim().is_empty());
        let mut kept = Vec::new();
        for (title, body) in parts {
            let body = clipped(&body, ONE.min(OUTPUT.saturating_sub(self.bytes)));
            self.bytes += body.len();
            kept.push((title, body));
        }
        kept
    }

    /// It is not known when the tests ran.
    pub(super) fn forget_times(&mut self) {
        self.failures.iter_mut().map(|f| &mut f.row).chain(&mut self.flaky).for_each(|row| row.from = None);
        let others = std::mem::take(&mut self.others).into_iter();
        self.others = others.map(|Reverse(row)| Reverse(Row { from: None, ..row })).collect();
    }

    /// All rows: failures first, then flaky tests, then the slowest.
    #[must_use]
    pub(super) fn list(&self) -> Vec<&Row> {
        let mut others: Vec<&Row> = self.others.iter().map(|r| &r.0).collect();
        others.sort_by(|a, b| b.us.cmp(&a.us).then_with(|| a.task.cmp(&b.task)));
        self.failures.iter().map(|f| &f.row).chain(&self.flaky).chain(others).collect()
    }
}

fn row(attempt: &Attempt, to: u64) -> Row {
    let name = Item::new(&attempt.id, 0).shown();
    let cut = name.chars().count() > NAME;
    Row {
        us: attempt.us,
        task: attempt.task,
        name: if cut { name.chars().take(NAME).chain(['…']).collect() } else { name },
        group: attempt.group.to_string(),
        outcome: if badness(attempt) == 2 { 'K' } else { attempt.outcome.letter() },
        from: Some(to.saturating_sub(attempt.us)),
        place: attempt.place.as_ref().map(crate::report::Place::label).unwrap_or_default(),
        attempts: attempt.number,
    }
}

/// The beginning and the end of a text.
fn clipped(text: &str, most: usize) -> String {
    if text.len() <= most {
        return text.to_owned();
    }
    let half = most / 2;
    let head = (0..=half).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
    let tail = (text.len() - half..text.len()).find(|&at| text.is_char_boundary(at)).unwrap_or(text.len());
    format!("{}\n[… {} bytes left out …]\n{}", &text[..head], tail - head, &text[tail..])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::testing::{attempt, failed};
    use remuda_protocol::outcome::Outcome;

    #[test]
    fn of_many_passes_the_slowest_are_kept() {
        let mut rows = Rows::default();
        for n in 0..50_000_u64 {
            let us = (n * 7_919) % 50_000;
            rows.push(&Attempt { us, ..attempt("t", Outcome::Passed) }, 0, String::new);
        }
        let list = rows.list();
        assert_eq!((list.len(), list[0].us, rows.total), (OTHERS, 49_999, 50_000));
        assert!(list.iter().all(|r| r.us >= 30_000));
    }

    #[test]
    fn outputs_are_bounded_and_failures_counted() {
        let mut rows = Rows::default();
        let mut big = failed(&"n".repeat(1_000));
        big.detail.sections = vec![("stdout".into(), "ä".repeat(100_000))];
        for _ in 0..BAD + 5 {
            rows.push(&big, 0, String::new);
        }
        let bytes: usize = rows.failures.iter().flat_map(|f| &f.output).map(|o| o.1.len()).sum();
        assert!(bytes < OUTPUT + BAD * 64, "{bytes}");
        assert_eq!((rows.failures.len(), rows.not_listed), (BAD, 5));
        assert!(rows.failures[0].output[1].1.contains("bytes left out"));
        assert_eq!(rows.failures[0].row.name.chars().count(), NAME + 1);
    }
}
