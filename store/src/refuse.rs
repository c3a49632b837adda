//! `refuse`: a worker cannot run a job, and others perhaps can. Wrapper of `scripts/refuse.lua`; also reads who has
//! refused what.

use crate::connection::Store;
use crate::error::StoreError;
use crate::reply::{list, number, pairs, text};
use crate::scripts::Name;

/// Kept of a reason, characters.
const REASON: usize = 500;

/// What the worker is to do with the tasks that it cannot run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// Give them back: so many other workers go on, and it is handed nothing of this job any more.
    Aside(u32),
    /// End them, and say why: nobody else is there.
    Alone,
    /// Nothing: the claim is not its own any more.
    Stale,
}

/// A worker that cannot run a job.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Refusal {
    /// Its id.
    pub worker: String,
    /// When it had come to the farm, Redis time, ms: one that has come anew since may try again.
    pub joined_ms: u64,
    /// Why, for people.
    pub reason: String,
}

impl Refusal {
    pub(crate) fn all(hash: redis::Value) -> Vec<Self> {
        let one = |(worker, said): (String, redis::Value)| {
            let said = text(&said);
            let (joined, reason) = said.split_once(' ').unwrap_or((&said, ""));
            Self { worker, joined_ms: joined.parse().unwrap_or_default(), reason: reason.to_owned() }
        };
        pairs(hash).into_iter().map(one).collect()
    }
}

impl Store {
    /// Says that `worker` cannot run the job of its claim `fence`.
    ///
    /// # Errors
    /// The server's.
    pub async fn refuse(&self, worker: &str, fence: u64, reason: &str) -> Result<Refused, StoreError> {
        let (fence, reason) = (fence.to_string(), reason.chars().take(REASON).collect::<String>());
        let answer = list(self.call(Name::Refuse, &[worker.as_bytes(), fence.as_bytes(), reason.as_bytes()]).await?);
        Ok(match answer.first().map(text).unwrap_or_default().as_str() {
            "OK" => Refused::Aside(answer.get(1).map(number).unwrap_or_default()),
            "ALONE" => Refused::Alone,
            _ => Refused::Stale,
        })
    }

    /// Who has refused a job, and why.
    ///
    /// # Errors
    /// The server's.
    pub async fn refusals(&self, job: &str) -> Result<Vec<Refusal>, StoreError> {
        let mut pipe = redis::pipe();
        pipe.hgetall(self.keys().refused(job));
        Ok(self.read("refusals", &pipe).await?.into_iter().next().map(Refusal::all).unwrap_or_default())
    }
}
