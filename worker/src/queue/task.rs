//! A task in the hands of your own code: what it is, and what may be said about it. It decides nothing; the queue acts on
//! what was said.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use remuda_protocol::outcome::{Detail, Outcome};
use remuda_protocol::spec::GroupSpec;
use remuda_store::{Claim, Logged, Store};
use tokio::sync::Notify;

use crate::warden::boottime_now_ms;

/// Most text that goes with a result; the farm keeps more while the job lives.
const KEPT: usize = 64 * 1024;

/// Why an expiry was refused. Nothing has changed then.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// Later than the task may end.
    #[error("an expiry in {asked:?} is beyond the cap: task_timeout leaves this attempt {left:?}")]
    BeyondCap {
        /// What was asked for.
        asked: Duration,
        /// What there is.
        left: Duration,
    },
    /// The task would not be tried again.
    #[error("`{task}` cannot expire by itself again: its {max_retries} retries are used up; finish it")]
    NoRetriesLeft {
        /// The task.
        task: String,
        /// The cap.
        max_retries: u32,
    },
    /// The farm could not be asked.
    #[error("failed to {0}")]
    Store(#[from] remuda_store::StoreError),
}

/// What was said so far.
#[derive(Debug, Default)]
pub(super) struct Said {
    /// When the attempt expires, boot-time ms.
    pub(super) until_ms: Option<u64>,
    /// It gave itself up.
    pub(super) gave_up: bool,
    pub(super) verdict: Option<(Outcome, String)>,
    pub(super) text: String,
}

/// One attempt at a task.
#[derive(Debug)]
pub struct Task {
    id: String,
    number: u32,
    attempt: u32,
    job: String,
    group: u32,
    fence: u64,
    max_retries: u32,
    /// The end that `task_timeout` sets, boot-time ms.
    cap_ms: Option<u64>,
    store: StoreHandle,
    logged: tokio::sync::Mutex<u64>,
    said: Mutex<Said>,
    pub(super) changed: Arc<Notify>,
}

/// A store that can be shown.
struct StoreHandle(Store);

impl std::fmt::Debug for StoreHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0.address())
    }
}

impl Task {
    /// `None`: the claim holds no task.
    pub(super) fn new(claim: &Claim, group: &GroupSpec, store: &Store) -> Option<Self> {
        let cap_ms = group.timeout_ms.map(|ms| boottime_now_ms().saturating_add(ms));
        Some(Self {
            id: claim.ids.first()?.clone(),
            number: claim.first,
            attempt: claim.attempts.first().copied().unwrap_or(1),
            job: claim.job.clone(),
            group: claim.group,
            fence: claim.fence,
            max_retries: group.retries,
            cap_ms,
            store: StoreHandle(store.clone()),
            logged: tokio::sync::Mutex::new(0),
            said: Mutex::new(Said { until_ms: cap_ms, ..Said::default() }),
            changed: Arc::new(Notify::new()),
        })
    }

    /// The name under which it was submitted.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Which attempt this is, 1 the first.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// Its job.
    #[must_use]
    pub fn job(&self) -> &str {
        &self.job
    }

    /// Says something to whoever follows the job. It is kept with the result (the last 64 KiB); a server that is away
    /// loses what was to be seen at once.
    pub async fn log(&self, line: impl AsRef<str>) {
        let line = format!("{}\n", line.as_ref());
        self.said().keep(&line);
        let mut offset = self.logged.lock().await;
        match self.store.0.log(self.fence, self.number, *offset, "o", line.as_bytes()).await {
            Ok(Logged::Ok(next) | Logged::Gap(next)) => *offset = next,
            Ok(Logged::Stale) => {}
            Err(error) => tracing::debug!(%error, "a line was not seen"),
        }
    }

    /// A sign of life: the attempt expires `after` from now unless it says so again. Leases are renewed in any case; this
    /// is for code that knows how long it should take. An expired attempt is tried again as long as retries are left.
    ///
    /// # Errors
    /// [`Refused::BeyondCap`]: no attempt goes on for longer than the work's `task_timeout`.
    pub fn expire_in(&self, after: Duration) -> Result<(), Refused> {
        let now = boottime_now_ms();
        let until = now.saturating_add(u64::try_from(after.as_millis()).unwrap_or(u64::MAX));
        if let Some(cap) = self.cap_ms.filter(|cap| until > *cap) {
            return Err(Refused::BeyondCap { asked: after, left: Duration::from_millis(cap.saturating_sub(now)) });
        }
        self.said().until_ms = Some(until);
        self.changed.notify_one();
        Ok(())
    }

    /// Gives this attempt up: it expires now, and somebody tries the task again. The handler is dropped where it next
    /// waits.
    ///
    /// # Errors
    /// [`Refused::NoRetriesLeft`] at the cap of `max_retries`: the task must be finished.
    pub async fn expire(&self) -> Result<(), Refused> {
        // attempts also count workers that died, and those are no retries
        let records = self.store.0.records(&self.job, self.group, self.number, 1).await?;
        if records.first().is_some_and(|r| r.fails >= self.max_retries) {
            return Err(Refused::NoRetriesLeft { task: self.id.clone(), max_retries: self.max_retries });
        }
        let mut said = self.said();
        said.gave_up = true;
        said.until_ms = Some(0);
        drop(said);
        self.changed.notify_one();
        Ok(())
    }

    /// Says how the task ended, whatever the handler returns: the first word counts.
    pub fn finish(&self, outcome: Outcome, message: impl Into<String>) {
        self.said().verdict.get_or_insert((outcome, message.into()));
    }

    pub(super) fn fence(&self) -> u64 {
        self.fence
    }

    pub(super) fn until_ms(&self) -> Option<u64> {
        self.said().until_ms
    }

    /// What it came to, when its handler has returned (`Ok`: with what), or it expired (`Err`).
    pub(super) fn judge(&self, returned: Result<Result<(), String>, Expired>) -> (Outcome, Detail) {
        let said = self.said();
        let (outcome, message) = match (&said.verdict, returned) {
            (_, _) if said.gave_up => (Outcome::TimedOut, "gave itself up".to_owned()),
            (Some(verdict), Ok(_)) => verdict.clone(),
            (None, Ok(Ok(()))) => (Outcome::Passed, String::new()),
            (None, Ok(Err(why))) => (Outcome::Failed, why),
            (_, Err(Expired)) => (Outcome::TimedOut, "expired without an end or a sign of life".to_owned()),
        };
        let sections = if said.text.is_empty() { vec![] } else { vec![("log".to_owned(), said.text.clone())] };
        (outcome, Detail { message, sections, ..Detail::default() })
    }

    fn said(&self) -> std::sync::MutexGuard<'_, Said> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Its time was over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Expired;

impl Said {
    /// Keeps the last 64 KiB, whole characters.
    fn keep(&mut self, line: &str) {
        self.text.push_str(line);
        let over = self.text.len().saturating_sub(KEPT);
        let cut = (over..=self.text.len()).find(|at| self.text.is_char_boundary(*at)).unwrap_or(0);
        self.text.drain(..cut);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_long_log_is_kept_in_whole_characters() {
        let mut said = Said::default();
        for _ in 0..KEPT {
            said.keep("é\n");
        }
        assert!(said.text.len() <= KEPT && said.text.ends_with("é\n"));
    }
}
