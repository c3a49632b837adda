//! Reads of state: jobs, groups, tasks, details, workers. They change nothing.

use remuda_protocol::event::Sequence;
use remuda_protocol::outcome::{Detail, Outcome};

use crate::BUCKET;
use crate::connection::Store;
use crate::error::StoreError;
use crate::refuse::Refusal;
use crate::reply::{list, number, pairs, text, texts};

/// A job as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JobSnapshot {
    /// State word.
    pub state: String,
    /// Why it closes or closed.
    pub reason: String,
    /// Number of its last event batch.
    pub sequence: Sequence,
    /// Its groups.
    pub groups: Vec<GroupSnapshot>,
    /// Workers that cannot run it.
    pub refusals: Vec<Refusal>,
}

/// A group as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupSnapshot {
    /// Its name.
    pub name: String,
    /// State word.
    pub state: String,
    /// Why.
    pub reason: String,
    /// `tests`, `collect` or `provision`.
    pub kind: String,
    /// Tasks known.
    pub added: u32,
    /// Tasks in lanes (behind a closed gate: blocked).
    pub ready: u32,
    /// Tasks claimed.
    pub running: u32,
    /// Ended tasks by outcome, in the order of [`Outcome::ALL`].
    pub ended: [u32; 7],
    /// Passed after a retry.
    pub flaky: u32,
    /// Measured attempts, and what they took together, µs.
    pub measured: (u64, u64),
}

/// The record of a task that was claimed at least once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskRecord {
    /// Task number.
    pub task: u32,
    /// Its end, if it has one.
    pub outcome: Option<Outcome>,
    /// Whether it is claimed now.
    pub running: bool,
    /// Fence of its last claim.
    pub fence: u64,
    /// Failures so far.
    pub fails: u32,
    /// Losses suffered alone.
    pub losses: u32,
    /// Losses suffered in company.
    pub company: u32,
    /// Duration of the last attempt, µs.
    pub us: u64,
}

/// A worker as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WorkerSnapshot {
    /// Its id.
    pub id: String,
    /// Canonical labels.
    pub labels: String,
    /// Slots.
    pub slots: u32,
    /// What it says of itself, JSON.
    pub about: String,
    /// What runs, JSON of its last beat.
    pub running: String,
    /// Asked to take no more work, or to leave.
    pub drain: bool,
    /// Asked to leave: nothing keeps it.
    pub leaving: bool,
    /// Redis time of its last beat, ms; 0: none yet.
    pub seen_ms: u64,
    /// Redis time at which it came, ms.
    pub joined_ms: u64,
}

impl Store {
    /// A job and its groups.
    ///
    /// # Errors
    /// [`StoreError::UnknownJob`], or the server's.
    pub async fn snapshot(&self, job: &str) -> Result<JobSnapshot, StoreError> {
        let mut pipe = redis::pipe();
        pipe.hgetall(self.keys().job(job)).hget(self.keys().meta(), "epoch");
        let mut answer = self.read("snapshot", &pipe).await?.into_iter();
        let fields = pairs(answer.next().unwrap_or(redis::Value::Nil));
        let epoch = answer.next().as_ref().map(number).unwrap_or_default();
        if fields.is_empty() {
            return Err(StoreError::UnknownJob { job: job.to_owned() });
        }
        let field = |name: &str| fields.iter().find(|(k, _)| k == name).map(|(_, v)| text(v)).unwrap_or_default();
        let count: u32 = field("groups").parse().unwrap_or_default();
        let mut pipe = redis::pipe();
        pipe.hgetall(self.keys().refused(job));
        for group in 0..count {
            pipe.hgetall(self.keys().group(job, group));
        }
        let mut answer = self.read("snapshot", &pipe).await?.into_iter();
        let refusals = answer.next().map(Refusal::all).unwrap_or_default();
        let groups = answer.map(group_snapshot).collect();
        let sequence = Sequence { epoch, n: field("seq").parse().unwrap_or_default() };
        Ok(JobSnapshot { state: field("state"), reason: field("cancel"), sequence, groups, refusals })
    }

    /// Ids of tasks `[first, first + count)` of a group.
    ///
    /// # Errors
    /// The server's.
    pub async fn ids(&self, job: &str, group: u32, first: u32, count: u32) -> Result<Vec<String>, StoreError> {
        let mut pipe = redis::pipe();
        let (mut task, end) = (first, first + count);
        while task < end {
            let stop = end.min((task / BUCKET + 1) * BUCKET);
            pipe.lrange(
                self.keys().ids(job, group, task / BUCKET),
                (task % BUCKET) as isize,
                ((stop - 1) % BUCKET) as isize,
            );
            task = stop;
        }
        Ok(self.read("ids", &pipe).await?.into_iter().flat_map(texts).collect())
    }

    /// Ids in whole buckets (group and number of [`BUCKET`] tasks each), in one exchange: ask for some dozens.
    ///
    /// # Errors
    /// The server's.
    pub async fn id_buckets(&self, job: &str, buckets: &[(u32, u32)]) -> Result<Vec<Vec<String>>, StoreError> {
        let mut pipe = redis::pipe();
        for (group, bucket) in buckets {
            pipe.lrange(self.keys().ids(job, *group, *bucket), 0, -1);
        }
        Ok(self.read("ids", &pipe).await?.into_iter().map(texts).collect())
    }

    /// Records of the claimed tasks among `[first, first + count)`, by task number.
    ///
    /// # Errors
    /// The server's.
    pub async fn records(&self, job: &str, group: u32, first: u32, count: u32) -> Result<Vec<TaskRecord>, StoreError> {
        if count == 0 {
            return Ok(Vec::new());
        }
        let buckets: Vec<u32> = (first / BUCKET..=(first + count - 1) / BUCKET).collect();
        let mut pipe = redis::pipe();
        for bucket in &buckets {
            pipe.hgetall(self.keys().records(job, group, *bucket));
        }
        let answers = self.read("records", &pipe).await?;
        let mut found: Vec<TaskRecord> = buckets
            .iter()
            .zip(answers)
            .flat_map(|(bucket, answer)| {
                pairs(answer)
                    .into_iter()
                    .filter_map(move |(k, v)| record(bucket * BUCKET + k.parse::<u32>().ok()?, &text(&v)))
            })
            .filter(|r| r.task >= first && r.task < first + count)
            .collect();
        found.sort_by_key(|r| r.task);
        Ok(found)
    }

    /// The details of attempts: (group, task, fence) each.
    ///
    /// # Errors
    /// The server's.
    pub async fn details(&self, job: &str, attempts: &[(u32, u32, u64)]) -> Result<Vec<Option<Detail>>, StoreError> {
        let bucket = |(group, task, _): &(u32, u32, u64)| (*group, task / BUCKET);
        let mut pipe = redis::pipe();
        for part in attempts.chunk_by(|a, b| bucket(a) == bucket(b)) {
            let (group, number) = bucket(&part[0]);
            let fields: Vec<String> = part.iter().map(|(_, task, fence)| format!("{task}:{fence}")).collect();
            pipe.cmd("HMGET").arg(self.keys().details(job, group, number)).arg(fields);
        }
        let answers = self.read("details", &pipe).await?;
        Ok(answers.into_iter().flat_map(list).map(|v| serde_json::from_str(&text(&v)).ok()).collect())
    }

    /// Workers on the books.
    ///
    /// # Errors
    /// The server's.
    pub async fn workers(&self) -> Result<Vec<WorkerSnapshot>, StoreError> {
        let mut pipe = redis::pipe();
        pipe.cmd("ZRANGE").arg(self.keys().workers()).arg(0).arg(-1);
        let ids = self.read("workers", &pipe).await?.into_iter().next().map(texts).unwrap_or_default();
        let mut pipe = redis::pipe();
        for id in &ids {
            pipe.hgetall(self.keys().worker(id));
        }
        let answers = self.read("workers", &pipe).await?;
        Ok(ids.into_iter().zip(answers).map(|(id, v)| worker_snapshot(id, v)).collect())
    }

    /// Ids of the jobs on the books, oldest first.
    ///
    /// # Errors
    /// The server's.
    pub async fn jobs(&self) -> Result<Vec<String>, StoreError> {
        let mut pipe = redis::pipe();
        pipe.cmd("ZRANGE").arg(self.keys().jobs()).arg(0).arg(-1);
        Ok(self.read("jobs", &pipe).await?.into_iter().next().map(texts).unwrap_or_default())
    }
}

fn group_snapshot(value: redis::Value) -> GroupSnapshot {
    let fields = pairs(value);
    let word = |name: &str| fields.iter().find(|(k, _)| k == name).map(|(_, v)| text(v)).unwrap_or_default();
    let count = |name: &str| word(name).parse().unwrap_or_default();
    GroupSnapshot {
        name: word("name"),
        state: word("state"),
        reason: word("reason"),
        kind: word("kind"),
        added: count("added"),
        ready: count("ready"),
        running: count("running"),
        ended: ["passed", "failed", "errored", "timedout", "lost", "skipped", "cancelled"].map(count),
        flaky: count("flaky"),
        measured: (word("done_n").parse().unwrap_or_default(), word("done_us").parse().unwrap_or_default()),
    }
}

fn worker_snapshot(id: String, value: redis::Value) -> WorkerSnapshot {
    let fields = pairs(value);
    let word = |name: &str| fields.iter().find(|(k, _)| k == name).map(|(_, v)| text(v)).unwrap_or_default();
    WorkerSnapshot {
        labels: word("labels"),
        slots: word("slots").parse().unwrap_or_default(),
        about: word("host"),
        running: word("running"),
        drain: !matches!(word("drain").as_str(), "" | "0"),
        leaving: word("drain") == "2",
        seen_ms: word("seen").parse().unwrap_or_default(),
        joined_ms: word("joined").parse().unwrap_or_default(),
        id,
    }
}

fn record(task: u32, packed: &str) -> Option<TaskRecord> {
    let mut words = packed.split(' ');
    let letter = words.next()?.chars().next()?;
    let numbers: Vec<u64> = words.filter_map(|w| w.parse().ok()).collect();
    let (fails, losses, company, us) = match numbers[..] {
        [_, us] => (0, 0, 0, us),
        [_, fails, losses, company, us] => (fails, losses, company, us),
        _ => return None,
    };
    let small = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
    Some(TaskRecord {
        task,
        outcome: Outcome::from_letter(letter),
        running: letter == 'R',
        fence: numbers[0],
        fails: small(fails),
        losses: small(losses),
        company: small(company),
        us,
    })
}
