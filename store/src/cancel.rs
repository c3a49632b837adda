//! `cancel`: ends a job, or one attempt of it. Wrapper of `scripts/cancel.lua`.

use crate::connection::Store;
use crate::error::StoreError;
use crate::reply::text;
use crate::scripts::Name;

/// What became of a cancel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cancelled {
    /// It is ending now.
    New,
    /// It was ending, or had ended.
    Again,
    /// No such job or attempt.
    Unknown,
}

impl Store {
    /// Cancels a job for `reason` (`user`, `deadline`, `queue-timeout`, `failures`; `halt`
    /// lets what runs end by itself), or only the claim `fence` of it.
    ///
    /// # Errors
    /// The server's.
    pub async fn cancel(&self, job: &str, reason: &str, fence: Option<u64>) -> Result<Cancelled, StoreError> {
        self.cancel_part(job, reason, &fence.map(|f| f.to_string()).unwrap_or_default(), "").await
    }

    /// Cancels one task of the claim `fence`, and nothing else.
    ///
    /// # Errors
    /// The server's.
    pub async fn cancel_task(&self, job: &str, fence: u64, task: u32) -> Result<Cancelled, StoreError> {
        self.cancel_part(job, "user", &fence.to_string(), &task.to_string()).await
    }

    async fn cancel_part(&self, job: &str, reason: &str, fence: &str, task: &str) -> Result<Cancelled, StoreError> {
        let args = [job.as_bytes(), reason.as_bytes(), fence.as_bytes(), task.as_bytes()];
        let answer = self.call(Name::Cancel, &args).await?;
        Ok(match text(&answer).as_str() {
            "OK" => Cancelled::New,
            "DUP" => Cancelled::Again,
            _ => Cancelled::Unknown,
        })
    }
}
