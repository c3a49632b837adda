//! `report`: a host's closing words about a job. Wrapper of `scripts/report.lua`.

use serde::{Deserialize, Serialize};

use crate::connection::Store;
use crate::error::StoreError;
use crate::reply::{text, texts};
use crate::scripts::Name;

/// What a host says when it has finished its part of a group.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HostReport {
    /// Worker id.
    pub worker: String,
    /// Host name.
    pub host: String,
    /// Group number.
    pub group: u32,
    /// What the framework prints at its end.
    pub summary: String,
    /// Fixtures whose teardown failed after their last test had been reported: name and scope, text.
    pub late: Vec<(String, String)>,
    /// Why the framework's session is no success, whatever its tests say; empty if nothing is wrong.
    pub failed: String,
    /// Why the suite was not forked, if it was not.
    pub no_fork: String,
    /// Why the suite told its session to stop, if it did.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub stopped: String,
}

impl Store {
    /// Leaves a host's closing words; `false` if the job is gone.
    ///
    /// # Errors
    /// The server's.
    pub async fn report(&self, job: &str, report: &HostReport) -> Result<bool, StoreError> {
        let json = serde_json::to_string(report).unwrap_or_default();
        Ok(text(&self.call(Name::Report, &[job.as_bytes(), json.as_bytes()]).await?) == "OK")
    }

    /// All closing words of a job.
    ///
    /// # Errors
    /// The server's.
    pub async fn reports(&self, job: &str) -> Result<Vec<HostReport>, StoreError> {
        let mut pipe = redis::pipe();
        pipe.lrange(self.keys().reports(job), 0, -1);
        let answer = self.read("reports", &pipe).await?;
        Ok(answer.into_iter().flat_map(texts).filter_map(|t| serde_json::from_str(&t).ok()).collect())
    }
}
