//! `adopt`: a job's owner renews its deadline, or another coordinator takes over. Wrapper of `scripts/adopt.lua`.

use remuda_protocol::event::Sequence;

use crate::connection::Store;
use crate::error::StoreError;
use crate::reply::{list, number, text};
use crate::scripts::Name;

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Adopted {
    /// Epoch of the ownership; to be named in the next call.
    pub epoch: u64,
    /// Whether somebody else owns the job by now.
    pub lost: bool,
    /// The job's state word.
    pub state: String,
    /// Number of its last event batch.
    pub sequence: Sequence,
    /// How long its owner has been silent, ms; `None` if nobody owns it.
    pub owner_silent_ms: Option<u64>,
}

impl Store {
    /// Looks at a job without owning it. `watch`: at its live output too.
    ///
    /// # Errors
    /// [`StoreError::UnknownJob`], or the server's.
    pub async fn look_at(&self, job: &str, watch: bool) -> Result<Adopted, StoreError> {
        self.adoption(job, "", "-1", 0, watch).await
    }

    /// Renews (`epoch` as last answered) or takes over (`epoch` 0). `watch`: somebody looks at live output.
    ///
    /// # Errors
    /// [`StoreError::UnknownJob`], or the server's.
    pub async fn adopt(
        &self,
        job: &str,
        coordinator: &str,
        epoch: u64,
        grace_ms: u64,
        watch: bool,
    ) -> Result<Adopted, StoreError> {
        self.adoption(job, coordinator, &epoch.to_string(), grace_ms, watch).await
    }

    async fn adoption(
        &self,
        job: &str,
        coordinator: &str,
        epoch: &str,
        grace_ms: u64,
        watch: bool,
    ) -> Result<Adopted, StoreError> {
        let grace = grace_ms.to_string();
        let watch: &[u8] = if watch { b"1" } else { b"0" };
        let args = [job.as_bytes(), coordinator.as_bytes(), epoch.as_bytes(), grace.as_bytes(), watch];
        let answer = list(self.call(Name::Adopt, &args).await?);
        let word = answer.first().map(text).unwrap_or_default();
        if word == "EUNKNOWN" {
            return Err(StoreError::UnknownJob { job: job.to_owned() });
        }
        Ok(Adopted {
            epoch: answer.get(1).map(number).unwrap_or_default(),
            lost: word == "ESTALE",
            state: answer.get(2).map(text).unwrap_or_default(),
            owner_silent_ms: answer.get(4).and_then(|s| text(s).parse().ok()),
            sequence: answer.get(3).and_then(|s| Sequence::parse(&text(s))).unwrap_or_default(),
        })
    }
}
