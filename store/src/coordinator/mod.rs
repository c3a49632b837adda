//! The library's way in: a program of your own submits named tasks and hears what becomes of each, without a command
//! line. `remuda_worker::TaskQueue` is its other half, which gives the tasks to your own code.
//!
//! `work` says what is submitted, `following` tells what happens to it. It only strings calls of [`Store`] together: it
//! judges nothing, shows nothing, starts no process and reads no environment.

mod following;
mod work;

use remuda_protocol::spec::{MAX_ID_BYTES, SpecError};
use uuid::Uuid;

pub use following::{Following, TaskEvent};
pub use work::Work;

use crate::connection::{ConnectOptions, Store};
use crate::error::StoreError;
use crate::{Added, Entry, ITEMS, Opened, Sealed};

/// How long a job outlives a coordinator that says nothing more, ms.
const GRACE_MS: u64 = 120_000;

/// Why tasks were not submitted, or can be followed no longer.
#[derive(Debug, thiserror::Error)]
pub enum CoordinatorError {
    /// Redis.
    #[error("failed to {0}")]
    Store(#[from] StoreError),
    /// The work makes no sense.
    #[error(transparent)]
    Work(#[from] SpecError),
    /// There is nothing to do.
    #[error("work `{work}` has no tasks; expected one at least")]
    Nothing {
        /// Its name.
        work: String,
    },
    /// A name that cannot be a task.
    #[error(
        "task {number} has {bytes} bytes; expected 1 to {MAX_ID_BYTES}: name the thing, and keep its data elsewhere"
    )]
    Task {
        /// Counted from 1.
        number: usize,
        /// Its length.
        bytes: usize,
    },
    /// The job ended, or somebody else changed it, while its tasks were being added.
    #[error("job {job} takes no more tasks: {answer}")]
    Closed {
        /// Its id.
        job: String,
        /// What the farm answered.
        answer: String,
    },
    /// Another coordinator owns the job now.
    #[error("another coordinator has taken over job {job}; it goes on there")]
    TakenOver {
        /// Its id.
        job: String,
    },
}

/// Submits work to a farm.
pub struct Coordinator {
    store: Store,
    id: String,
}

impl Coordinator {
    /// Connects to a farm. Give your workers a farm of their own: a queue takes every task that it is offered there.
    ///
    /// # Errors
    /// The server's.
    pub async fn connect(options: ConnectOptions) -> Result<Self, StoreError> {
        Ok(Self { store: Store::connect(options).await?, id: Uuid::new_v4().to_string() })
    }

    /// Submits tasks; workers begin with the first ones while the last are still on their way. The order is kept as
    /// far as there is one.
    ///
    /// # Errors
    /// [`CoordinatorError`]; what had been opened is cancelled then.
    pub async fn submit<T: AsRef<str>>(&self, work: &Work, tasks: &[T]) -> Result<Following, CoordinatorError> {
        let names: Vec<String> = tasks.iter().map(|t| t.as_ref().to_owned()).collect();
        check(work, &names)?;
        let spec = work.spec(&Uuid::new_v4().to_string());
        spec.check()?;
        let watch = self.store.watch(&spec.id, true).await?;
        match self.store.open(&spec, &self.id, GRACE_MS).await? {
            Opened::New | Opened::Again => {}
            refused => return Err(CoordinatorError::Closed { job: spec.id, answer: format!("{refused:?}") }),
        }
        if let Err(error) = self.fill(&spec.id, &names).await {
            // nobody would ever seal it
            let _ = self.store.cancel(&spec.id, "user", None).await;
            return Err(error);
        }
        Ok(Following::new(self.store.clone(), spec.id, self.id.clone(), names, watch))
    }

    async fn fill(&self, job: &str, names: &[String]) -> Result<(), CoordinatorError> {
        let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        for (at, ids) in names.chunks(ITEMS).enumerate() {
            let (first, count) = (number(at * ITEMS), number(ids.len()));
            let run = Entry { lane: 0, first, count, us: -1, cost: -1, whole: false, more: false };
            match self.store.add(job, 0, 0, first, ids, &[run]).await? {
                Added::New(_) | Added::Again(_) => {}
                refused => return Err(closed(job, &refused)),
            }
        }
        match self.store.seal(job, 0, 0, number(names.len())).await? {
            Sealed::New | Sealed::Again | Sealed::Over => {}
            refused => return Err(closed(job, &refused)),
        }
        match self.store.seal_job(job).await? {
            Sealed::New | Sealed::Again | Sealed::Over => Ok(()),
            refused => Err(closed(job, &refused)),
        }
    }
}

fn closed(job: &str, answer: &impl std::fmt::Debug) -> CoordinatorError {
    CoordinatorError::Closed { job: job.to_owned(), answer: format!("{answer:?}") }
}

fn check(work: &Work, names: &[String]) -> Result<(), CoordinatorError> {
    if names.is_empty() {
        return Err(CoordinatorError::Nothing { work: work.name.clone() });
    }
    match (1..).zip(names).find(|(_, name)| name.is_empty() || name.len() > MAX_ID_BYTES) {
        Some((number, name)) => Err(CoordinatorError::Task { number, bytes: name.len() }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_that_makes_no_sense_is_refused_by_name() {
        let work = Work::new("nightly");
        let refused = |names: &[String]| check(&work, names).unwrap_err().to_string();
        assert_eq!(refused(&[]), "work `nightly` has no tasks; expected one at least");
        assert_eq!(
            refused(&["a".to_owned(), String::new()]),
            "task 2 has 0 bytes; expected 1 to 65536: name the thing, and keep its data elsewhere"
        );
        assert!(refused(&["x".repeat(MAX_ID_BYTES + 1)]).starts_with("task 1 has 65537 bytes"));
        check(&work, &["x".repeat(MAX_ID_BYTES)]).unwrap();
        assert_eq!(
            Work::new("w").label("gpu,big").spec("j").check().unwrap_err().to_string(),
            "label `gpu,big` may only have letters, digits, `-`, `_` and `.`"
        );
    }
}
