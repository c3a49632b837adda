//! Submitting: tasks go to the store in chunks, slowest first where all are known, as they come where they are not.
//! Workers start on the first chunk. What is read is never held whole.

use std::collections::HashMap;
use std::time::Duration;

use remuda_protocol::plan::order::{Keep, Known, SetupCosts, plan};
use remuda_store::{Added, Entry, History, ITEMS, Store};
use tokio::sync::mpsc;

use crate::error::Error;
use crate::job::rows::Rows;
use crate::job::{Feed, Items};

/// Most bytes of names in one call.
const CHUNK_BYTES: usize = 1 << 20;
/// How long a chunk waits for more input before it goes.
const LINGER: Duration = Duration::from_millis(20);
/// Items that may be read ahead.
const AHEAD: usize = 1_000;

/// What to submit.
pub struct Submission {
    /// The store.
    pub store: Store,
    /// Job id.
    pub job: String,
    /// Groups with tasks to add.
    pub feeds: Vec<Feed>,
    /// What is known of each group's tasks, by group number.
    pub history: HashMap<u32, History>,
    /// Slots to plan for.
    pub slots: usize,
}

/// Whether a group still takes tasks. One that has ended says nothing of the others: the job must be sealed to end.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Goes {
    On,
    Over,
}

impl Submission {
    /// Adds everything and seals the job.
    ///
    /// # Errors
    /// The store's, or an item that cannot be a task. A job that has ended meanwhile is no error.
    pub async fn run(mut self) -> Result<(), Error> {
        for feed in std::mem::take(&mut self.feeds) {
            let (group, lane) = (feed.group, feed.lane);
            let (total, goes) = match feed.items {
                Items::Known(items) => self.known(group, lane, &items).await?,
                Items::Rows(rows) => self.stream(group, lane, rows).await?,
                Items::Collected => (0, Goes::On),
            };
            if goes == Goes::On {
                self.store.seal(&self.job, group, 0, total).await?;
            }
        }
        self.store.seal_job(&self.job).await?;
        Ok(())
    }

    async fn known(&self, group: u32, lane: u32, items: &[String]) -> Result<(u32, Goes), Error> {
        let history = self.history.get(&group);
        let known: Vec<Known<'_>> = items
            .iter()
            .map(|id| Known {
                file: "",
                scope: "",
                group: None,
                first: false,
                us: history.and_then(|h| h.tests.get(id).copied()),
            })
            .collect();
        let plan = plan(&known, &SetupCosts::new(), self.slots, Keep::Free);
        let runs: Vec<(u32, i64)> = plan.runs.iter().map(|run| (run.count, run.us)).collect();
        let ordered: Vec<&String> = plan.order.iter().map(|&at| &items[at as usize]).collect();
        let (mut first, mut runs) = (0, Runs { lane, runs: &runs, into: 0, at: 0 });
        while first < ordered.len() {
            let count = chunk_len(&ordered[first..]);
            let ids: Vec<String> = ordered[first..first + count].iter().map(|id| (*id).clone()).collect();
            let entries = runs.take(u32::try_from(count).unwrap_or(u32::MAX));
            if self.add(group, first, &ids, &entries).await? == Goes::Over {
                return Ok((0, Goes::Over));
            }
            first += count;
        }
        Ok((number(first), Goes::On))
    }

    async fn stream(&self, group: u32, lane: u32, rows: Rows) -> Result<(u32, Goes), Error> {
        let mut items = read(rows);
        let (mut first, mut chunk, mut bytes) = (0, Vec::new(), 0);
        loop {
            let next = if chunk.is_empty() {
                items.recv().await
            } else {
                tokio::time::timeout(LINGER, items.recv()).await.unwrap_or(Some(Ok(None)))
            };
            let ended = next.is_none();
            let lull = matches!(next, Some(Ok(None)));
            if let Some(Some(item)) = next.transpose()? {
                bytes += item.len();
                chunk.push(item);
            }
            if !chunk.is_empty() && (ended || lull || chunk.len() == ITEMS || bytes > CHUNK_BYTES) {
                let entries = one_by_one(lane, number(first), number(chunk.len()));
                if self.add(group, first, &chunk, &entries).await? == Goes::Over {
                    return Ok((0, Goes::Over));
                }
                first += chunk.len();
                bytes = 0;
                chunk.clear();
            }
            if ended {
                return Ok((number(first), Goes::On));
            }
        }
    }

    async fn add(&self, group: u32, first: usize, ids: &[String], entries: &[Entry]) -> Result<Goes, Error> {
        let goes = match self.store.add(&self.job, group, 0, number(first), ids, entries).await? {
            Added::New(_) | Added::Again(_) => Goes::On,
            Added::Over | Added::Sealed | Added::Unknown => Goes::Over,
            Added::Gap(n) | Added::Conflict(n) => {
                return Err(Error::Usage(format!(
                    "job {} has other tasks than this program gave it ({n} of them)",
                    self.job
                )));
            }
            Added::Stale => return Err(Error::TakenOver(self.job.clone())),
        };
        Ok(goes)
    }
}

/// A run for each task, so that they are handed out in the order in which they came: of one long run a second slot
/// would begin in the middle.
fn one_by_one(lane: u32, first: u32, count: u32) -> Vec<Entry> {
    let entry = |first| Entry { lane, first, count: 1, us: -1, cost: -1, whole: false, more: false };
    (first..first + count).map(entry).collect()
}

fn number(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

fn chunk_len(ids: &[&String]) -> usize {
    let mut bytes = 0;
    let fits = ids.iter().take(ITEMS).take_while(|id| {
        bytes += id.len();
        bytes <= CHUNK_BYTES
    });
    fits.count().max(1)
}

/// Cuts runs where chunks end.
struct Runs<'a> {
    lane: u32,
    runs: &'a [(u32, i64)],
    into: u32,
    at: u32,
}

impl Runs<'_> {
    /// The entries of the next `count` tasks.
    fn take(&mut self, mut count: u32) -> Vec<Entry> {
        let mut entries = Vec::new();
        while count > 0 {
            let Some(&(len, us)) = self.runs.first() else { break };
            let part = count.min(len - self.into);
            let part_us = if us < 0 { -1 } else { us * i64::from(part) / i64::from(len) };
            entries.push(Entry {
                lane: self.lane,
                first: self.at,
                count: part,
                us: part_us,
                cost: -1,
                whole: false,
                more: self.into > 0,
            });
            self.at += part;
            self.into += part;
            count -= part;
            if self.into == len {
                self.runs = &self.runs[1..];
                self.into = 0;
            }
        }
        entries
    }
}

/// Items read in a thread of their own: a read that never returns must not hold the program's end.
/// `Ok(None)` is never sent; it stands for a lull.
fn read(rows: Rows) -> mpsc::Receiver<Result<Option<String>, Error>> {
    let (sender, receiver) = mpsc::channel(AHEAD);
    std::thread::spawn(move || {
        let ids = match rows.ids() {
            Ok(ids) => ids,
            Err(error) => return drop(sender.blocking_send(Err(error))),
        };
        for id in ids {
            let failed = id.is_err();
            if sender.blocking_send(id.map(Some)).is_err() || failed {
                return;
            }
        }
    });
    receiver
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_cut_where_chunks_end_and_say_that_they_go_on() {
        let mut runs = Runs { lane: 3, runs: &[(250, 1000), (2, -1)], into: 0, at: 0 };
        let shape = |entries: Vec<Entry>| entries.iter().map(|e| (e.first, e.count, e.us, e.more)).collect::<Vec<_>>();
        assert_eq!(shape(runs.take(200)), [(0, 200, 800, false)]);
        assert_eq!(shape(runs.take(52)), [(200, 50, 200, true), (250, 2, -1, false)]);
        assert_eq!(shape(runs.take(5)), []);
    }

    #[test]
    fn a_chunk_is_bounded_in_items_and_bytes() {
        let short = "x".to_owned();
        let long = "y".repeat(CHUNK_BYTES - 10);
        assert_eq!(chunk_len(&[&short; 500]), ITEMS);
        assert_eq!(chunk_len(&[&short, &long, &long]), 2);
        assert_eq!(chunk_len(&[&"z".repeat(CHUNK_BYTES + 1)]), 1);
    }
}
