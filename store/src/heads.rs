//! What lists show: heads of all jobs, pools with what is free, tails of output. Reads only.

use crate::connection::Store;
use crate::error::StoreError;
use crate::reply::{list, number, text, texts};

/// The head of a job.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JobHead {
    /// Its id.
    pub id: String,
    /// What people call it.
    pub name: String,
    /// Whose it is.
    pub submitter: String,
    /// State word.
    pub state: String,
    /// Why it closes or closed.
    pub reason: String,
    /// Redis time of its start, ms.
    pub created_ms: u64,
    /// Redis time of its end, ms.
    pub ended_ms: Option<u64>,
    /// It goes on without a coordinator.
    pub detached: bool,
    /// Redis time at which it is cancelled unless a coordinator renews it, ms.
    pub owner_until_ms: Option<u64>,
}

/// A pool as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pool {
    /// Its name.
    pub name: String,
    /// All items.
    pub items: Vec<String>,
    /// Those that nobody holds.
    pub free: u32,
}

impl Store {
    /// Redis time, ms.
    ///
    /// # Errors
    /// The server's.
    pub async fn now_ms(&self) -> Result<u64, StoreError> {
        let answer = self.read("time", redis::pipe().cmd("TIME")).await?;
        let parts = answer.into_iter().next().map(list).unwrap_or_default();
        let part = |i: usize| parts.get(i).map(number::<u64>).unwrap_or_default();
        Ok(part(0) * 1000 + part(1) / 1000)
    }

    /// The heads of all jobs on the books, oldest first.
    ///
    /// # Errors
    /// The server's.
    pub async fn heads(&self) -> Result<Vec<JobHead>, StoreError> {
        let ids = self.jobs().await?;
        let mut pipe = redis::pipe();
        for id in &ids {
            let fields = ["name", "submitter", "state", "cancel", "created", "retention", "detach"];
            pipe.cmd("HMGET").arg(self.keys().job(id)).arg(&fields);
            pipe.cmd("ZSCORE").arg(self.keys().retire()).arg(id);
            pipe.cmd("ZSCORE").arg(self.keys().owners()).arg(id);
        }
        let mut answers = self.read("jobs", &pipe).await?.into_iter();
        let mut found = Vec::new();
        for id in ids {
            let (Some(fields), Some(retire), Some(owner)) = (answers.next(), answers.next(), answers.next()) else {
                break;
            };
            let score = |value: &redis::Value| text(value).parse::<f64>().ok().map(whole);
            found.extend(head(id, &texts(fields), score(&retire), score(&owner)));
        }
        Ok(found)
    }

    /// The pools that live jobs define.
    ///
    /// # Errors
    /// The server's.
    pub async fn pools(&self) -> Result<Vec<Pool>, StoreError> {
        let answer = self.read("pools", redis::pipe().hgetall(self.keys().pools())).await?;
        let defined = answer.into_iter().next().map(crate::reply::pairs).unwrap_or_default();
        let mut pipe = redis::pipe();
        for (name, _) in &defined {
            pipe.llen(self.keys().free(name));
        }
        let free = if defined.is_empty() { Vec::new() } else { self.read("pools", &pipe).await? };
        let pool = |((name, definition), free): ((String, redis::Value), redis::Value)| {
            let items = text(&definition).split('\n').map(str::to_owned).collect();
            Pool { name, items, free: number(&free) }
        };
        Ok(defined.into_iter().zip(free).map(pool).collect())
    }

    /// The tail that Redis keeps of what an attempt printed while it was looked at, and the offset at which it ends.
    ///
    /// # Errors
    /// The server's.
    pub async fn tail(&self, job: &str, group: u32, task: u32, fence: u64) -> Result<(u64, Vec<u8>), StoreError> {
        let mut pipe = redis::pipe();
        pipe.atomic().hget(self.keys().logs(job), format!("{group}:{task}:{fence}"));
        pipe.get(self.keys().tail(job, group, task, fence));
        let mut answer = self.read("output", &pipe).await?.into_iter();
        let end = answer.next().map(|v| number(&v)).unwrap_or_default();
        Ok(match answer.next() {
            Some(redis::Value::BulkString(bytes)) => (end, bytes),
            _ => (end, Vec::new()),
        })
    }
}

fn head(id: String, fields: &[String], retire_ms: Option<u64>, owner_until_ms: Option<u64>) -> Option<JobHead> {
    let [name, submitter, state, reason, created, retention, detach] = fields else { return None };
    let retention: u64 = retention.parse().unwrap_or_default();
    Some(JobHead {
        id,
        name: name.clone(),
        submitter: submitter.clone(),
        state: state.clone(),
        reason: reason.clone(),
        created_ms: created.parse().ok()?,
        ended_ms: retire_ms.map(|at| at.saturating_sub(retention)),
        detached: detach == "1",
        owner_until_ms,
    })
}

/// Scores are times in ms, which a double holds exactly.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to what fits")]
pub(crate) fn whole(score: f64) -> u64 {
    score.clamp(0.0, 9e15) as u64
}
