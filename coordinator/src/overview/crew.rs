//! Who is on a farm: each worker as it describes itself when it is asked, and by the books where it does not answer.
//! Reads only.

use std::collections::BTreeMap;
use std::time::Duration;

use remuda_store::{HeldClaim, Store, StoreError, WorkerSnapshot};
use serde::Deserialize;

use crate::report::text::length;

/// A worker as it last described itself.
#[derive(Clone, Debug, Default)]
pub struct Worker {
    /// What the books say.
    pub books: WorkerSnapshot,
    /// Its host.
    pub host: String,
    /// What people call it: its host, and where several are on one host the beginning of its id.
    pub name: String,
    /// Its program's version.
    pub version: String,
    /// What runs in its slots.
    pub running: Vec<RunningTask>,
    /// For how long it has not been heard of, if that is longer than a living one is quiet.
    pub silent: Option<Duration>,
    /// What a silent one holds.
    pub held: Vec<HeldClaim>,
}

/// A slot at work.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct RunningTask {
    /// The worker's slot.
    pub slot: u32,
    /// Job id.
    pub job: String,
    /// Group number.
    pub group: u32,
    /// Task number.
    pub task: u32,
    /// Fence of its claim.
    pub fence: u64,
    /// Since its start, ms, if it has started.
    pub ms: Option<u64>,
    /// More tasks in the slot's hands.
    pub queued: u32,
    /// Items of pools that it holds.
    pub locks: BTreeMap<String, Vec<String>>,
}

impl Worker {
    /// The beginning of its id.
    #[must_use]
    pub fn short_id(&self) -> String {
        self.books.id.chars().take(8).collect()
    }

    /// Slots in use, as far as is known.
    #[must_use]
    pub fn busy(&self) -> usize {
        self.running.len() + self.held.len()
    }

    /// `lab1 has been silent for 16.0s`, if it is.
    #[must_use]
    pub fn silence(&self) -> Option<String> {
        self.silent.map(|time| format!("{} has been silent for {}", self.name, length(time)))
    }
}

impl RunningTask {
    /// ` holding boards=b1+b2`, or nothing.
    #[must_use]
    pub fn holding(&self) -> String {
        let locks: Vec<String> = self.locks.iter().map(|(pool, items)| format!("{pool}={}", items.join("+"))).collect();
        if locks.is_empty() { String::new() } else { format!(", holding {}", locks.join(" ")) }
    }
}

/// How long workers may take to say what they do now; then what they said last is shown.
const FRESH: Duration = Duration::from_millis(400);
/// A worker that lives beats every 5 s, and when it is asked to.
const QUIET: Duration = Duration::from_secs(10);
/// How often their words are looked for.
const LOOK: Duration = Duration::from_millis(10);

/// All workers of a farm, by host, asked just now what they do.
///
/// # Errors
/// The server's.
pub async fn workers(store: &Store) -> Result<Vec<Worker>, StoreError> {
    let asked_ms = store.now_ms().await?;
    store.call_for_beats().await?;
    let deadline = tokio::time::Instant::now() + FRESH;
    loop {
        let books = store.workers().await?;
        let all_said = books.iter().all(|worker| worker.seen_ms >= asked_ms);
        if all_said || tokio::time::Instant::now() > deadline {
            let mut workers: Vec<Worker> = books.into_iter().map(|books| worker(books, asked_ms)).collect();
            // the books have them in the order of their last words
            workers.sort_by(|a, b| (&a.host, &a.books.id).cmp(&(&b.host, &b.books.id)));
            return with_held(store, named(workers)).await;
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// What silent ones hold is read in the books: what they said last is not so any more.
async fn with_held(store: &Store, mut workers: Vec<Worker>) -> Result<Vec<Worker>, StoreError> {
    for worker in workers.iter_mut().filter(|worker| worker.silent.is_some()) {
        worker.running.clear();
        worker.held = store.held(&worker.books.id).await?;
    }
    Ok(workers)
}

fn worker(books: WorkerSnapshot, asked_ms: u64) -> Worker {
    let about: serde_json::Value = serde_json::from_str(&books.about).unwrap_or_default();
    let word = |name: &str| about.get(name).and_then(serde_json::Value::as_str).unwrap_or("?").to_owned();
    let running = serde_json::from_str(&books.running).unwrap_or_default();
    let quiet = Duration::from_millis(asked_ms.saturating_sub(books.seen_ms.max(books.joined_ms)));
    let silent = Some(quiet).filter(|quiet| *quiet > QUIET);
    Worker { host: word("host"), version: word("version"), running, silent, books, ..Worker::default() }
}

/// Names workers so that each is told from the others.
fn named(mut workers: Vec<Worker>) -> Vec<Worker> {
    let mut of_host: BTreeMap<String, usize> = BTreeMap::new();
    for worker in &workers {
        *of_host.entry(worker.host.clone()).or_default() += 1;
    }
    for worker in &mut workers {
        let alone = of_host.get(&worker.host) == Some(&1);
        worker.name = if alone { worker.host.clone() } else { format!("{} {}", worker.host, worker.short_id()) };
    }
    workers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_of_one_host_are_told_apart_by_their_ids() {
        let on = |host: &str, id: &str| Worker {
            books: WorkerSnapshot { id: id.into(), ..WorkerSnapshot::default() },
            host: host.into(),
            ..Worker::default()
        };
        let all = named(vec![on("lab1", "4f6e0c1a-1"), on("lab2", "11111111-3"), on("lab1", "9b2d77e3-2")]);
        let names: Vec<&str> = all.iter().map(|w| w.name.as_str()).collect();
        assert_eq!(names, ["lab1 4f6e0c1a", "lab2", "lab1 9b2d77e3"]);
    }

    #[test]
    fn a_worker_that_says_nothing_is_still_a_worker() {
        let books = WorkerSnapshot { about: "{".into(), running: String::new(), ..WorkerSnapshot::default() };
        assert_eq!(worker(books, 0).host, "?");
    }

    #[test]
    fn who_does_not_answer_and_has_not_beaten_for_long_is_silent() {
        let seen = |seen_ms| WorkerSnapshot { seen_ms, joined_ms: 1_000, ..WorkerSnapshot::default() };
        assert_eq!(worker(seen(90_001), 100_001).silent, None);
        assert_eq!(worker(seen(84_001), 100_001).silent, Some(Duration::from_secs(16)));
        assert_eq!(worker(seen(0), 5_000).silent, None, "it has only just come");
    }
}
