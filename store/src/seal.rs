//! `seal`: no more tasks come. Wrapper of `scripts/seal.lua`.

use crate::connection::Store;
use crate::error::StoreError;
use crate::reply::status;
use crate::scripts::Name;

/// What became of a sealing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sealed {
    /// It is sealed now.
    New,
    /// It was sealed before.
    Again,
    /// The group has another number of tasks.
    Count(u32),
    /// Somebody else collects this group now.
    Stale,
    /// The group or its job has ended.
    Over,
    /// No such group.
    Unknown,
}

impl Store {
    /// Seals a group of `total` tasks. `fence`: of the collect attempt, 0 for the coordinator.
    ///
    /// # Errors
    /// The server's.
    pub async fn seal(&self, job: &str, group: u32, fence: u64, total: u32) -> Result<Sealed, StoreError> {
        self.seal_number(job, &group.to_string(), fence, total, (0, 0)).await
    }

    /// As [`Store::seal`], with what the collected suite's own settings ask for: most failures, most slots (0: nothing).
    ///
    /// # Errors
    /// The server's.
    pub async fn seal_with(
        &self,
        job: &str,
        group: u32,
        fence: u64,
        total: u32,
        limits: (u32, u32),
    ) -> Result<Sealed, StoreError> {
        self.seal_number(job, &group.to_string(), fence, total, limits).await
    }

    /// Seals a job: every group is known.
    ///
    /// # Errors
    /// The server's.
    pub async fn seal_job(&self, job: &str) -> Result<Sealed, StoreError> {
        self.seal_number(job, "-1", 0, 0, (0, 0)).await
    }

    async fn seal_number(
        &self,
        job: &str,
        group: &str,
        fence: u64,
        total: u32,
        limits: (u32, u32),
    ) -> Result<Sealed, StoreError> {
        let words = [fence.to_string(), total.to_string(), limits.0.to_string(), limits.1.to_string()];
        let args: Vec<&[u8]> =
            [job, group].into_iter().chain(words.iter().map(String::as_str)).map(str::as_bytes).collect();
        let (word, rest) = status(&self.call(Name::Seal, &args).await?);
        Ok(match word.as_str() {
            "OK" => Sealed::New,
            "DUP" => Sealed::Again,
            "ECOUNT" => Sealed::Count(rest.parse().unwrap_or_default()),
            "ESTALE" => Sealed::Stale,
            "EOVER" => Sealed::Over,
            _ => Sealed::Unknown,
        })
    }
}
