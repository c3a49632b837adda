//! What can go wrong, said once: the message names the thing, `hint` the repair (of Redis it is the
//! store's, which the worker shows, too), `exit` what a script sees.
//!
//! Every other file returns these; only `lib.rs` prints them. An outcome of tests is never an error: a run that
//! ended has an [`Exit`] of its own (`follow`).

use std::fmt::Write as _;
use std::path::PathBuf;

use remuda_protocol::spec::SpecError;
use remuda_store::StoreError;

use crate::config::ConfigError;

/// How the program ends (DESIGN §8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Every test passed.
    Passed,
    /// Tests failed.
    TestsFailed,
    /// The command line, a configuration file or the framework's own arguments are wrong.
    Usage,
    /// Something broke that is not the user's doing, or Redis cannot be used.
    Internal,
    /// Provisioning or a hook failed.
    Provisioning,
    /// There was nothing to run.
    NothingSelected,
    /// Not everything ran: lost workers, a deadline, or no worker that fits.
    Incomplete,
    /// Stopped by SIGINT.
    Interrupted,
    /// Stopped by SIGTERM.
    Terminated,
    /// Nobody reads its output any more.
    Closed,
}

impl Exit {
    /// The number.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Self::Passed => 0,
            Self::TestsFailed => 1,
            Self::Usage => 2,
            Self::Internal => 3,
            Self::Provisioning => 4,
            Self::NothingSelected => 5,
            Self::Incomplete => 6,
            Self::Interrupted => 130,
            Self::Terminated => 143,
            Self::Closed => 141,
        }
    }
}

/// Why there is no run, or no more.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The command line makes no sense.
    #[error("{0}")]
    Usage(String),
    /// A configuration file is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The job cannot run as described.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// A group's globs match no file.
    #[error("group `{group}`: no file under {root} matches {patterns}", root = root.display())]
    NothingMatched {
        /// The group.
        group: String,
        /// Where the search began.
        root: PathBuf,
        /// The globs.
        patterns: String,
    },
    /// No items were given.
    #[error("nothing to run: {0}")]
    Nothing(String),
    /// An item that cannot be a task.
    #[error("item {number} ({shown}) {problem}")]
    Item {
        /// Counted from 1.
        number: u64,
        /// Its beginning, printable.
        shown: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A file or stream could not be used.
    #[error("cannot {what}: {source}")]
    Io {
        /// The verb and the thing.
        what: String,
        /// Why.
        source: std::io::Error,
    },
    /// Whoever read the output has gone.
    #[error("{}, because nobody reads {name} any more", if *ended { "the run was ended" } else { "stopped" })]
    Closed {
        /// What was read.
        name: String,
        /// Whether a run ended with it; a verb that only shows ends nothing but itself.
        ended: bool,
    },
    /// Redis cannot be used.
    #[error("cannot {0}")]
    Store(#[from] StoreError),
    /// No Redis server to embed.
    #[error("no Redis server found to run tests with: tried {tried}")]
    NoServer {
        /// The places.
        tried: String,
    },
    /// An embedded process ended under the run.
    #[error("the embedded {what} {how} before the run was over{tail}", tail = tail_of(log))]
    Died {
        /// `redis-server`, `worker` or `farm's warden`.
        what: &'static str,
        /// How it ended.
        how: String,
        /// The end of its log.
        log: String,
    },
    /// An embedded process did not start.
    #[error("the embedded {what} {problem}{tail}", tail = tail_of(log))]
    Embedded {
        /// `redis-server` or `worker`.
        what: &'static str,
        /// What happened.
        problem: String,
        /// The end of its log.
        log: String,
    },
    /// The job's owner is another coordinator now.
    #[error("another coordinator has taken over job {0}")]
    TakenOver(String),
    /// The user did not wait for the end.
    #[error("killed")]
    Killed(Exit),
    /// A verb about jobs, and no farm to ask.
    #[error("there is no farm to ask: none is named")]
    NoFarm,
    /// No job is what was typed.
    #[error("there is no job {text} on farm `{farm}`")]
    NoJob {
        /// What was typed, quoted.
        text: String,
        /// The farm.
        farm: String,
    },
    /// More than one job is.
    #[error("`{text}` is the beginning of {} jobs: {}", ids.len(), ids.join(", "))]
    ManyJobs {
        /// What was typed.
        text: String,
        /// The jobs.
        ids: Vec<String>,
    },
    /// No task is what was typed.
    #[error("job {job} has no task `{text}`")]
    NoTask {
        /// What was typed.
        text: String,
        /// The job.
        job: String,
    },
    /// More than one task is.
    #[error("`{text}` fits {count} tasks of job {job}: {}{}", some.join(", "), and_more(*count, some.len()))]
    ManyTasks {
        /// What was typed.
        text: String,
        /// The job.
        job: String,
        /// How many it fits.
        count: u64,
        /// Some of them.
        some: Vec<String>,
    },
    /// The job did not end in the time that was given.
    #[error("job {0} has not ended in the time given to wait for it")]
    Impatient(String),
    /// The user left a job that goes on.
    #[error("left; job {0} goes on")]
    Left(String),
    /// Workers that cannot be brought back.
    #[error("{} cannot be kept: {} asked to leave, and leave{} when what runs there has ended", workers.join(", "),
        if workers.len() == 1 { "it was" } else { "they were" }, if workers.len() == 1 { "s" } else { "" })]
    Leaving {
        /// Host and id of each.
        workers: Vec<String>,
        /// The farm's.
        address: String,
    },
    /// No worker of the farm may run a group.
    #[error("{0}")]
    NoWorker(String),
}

fn and_more(count: u64, shown: usize) -> String {
    match count.saturating_sub(shown as u64) {
        0 => String::new(),
        more => format!(" and {more} more"),
    }
}

fn tail_of(log: &str) -> String {
    let mut text = String::new();
    for line in log.lines().rev().take(10).collect::<Vec<_>>().into_iter().rev() {
        let _ = write!(text, "\n    {line}");
    }
    text
}

impl Error {
    /// An input/output error with its verb.
    pub fn io(what: impl Into<String>, source: std::io::Error) -> Self {
        Self::Io { what: what.into(), source }
    }

    /// A report that could not be written.
    #[must_use]
    pub fn report(name: &str, source: std::io::Error) -> Self {
        if source.kind() == std::io::ErrorKind::BrokenPipe {
            return Self::Closed { name: name.to_owned(), ended: false };
        }
        Self::io(format!("write {name}"), source)
    }

    /// The same, where it has ended a run.
    #[must_use]
    pub fn of_a_run(self) -> Self {
        match self {
            Self::Closed { name, .. } => Self::Closed { name, ended: true },
            other => other,
        }
    }

    /// The exit code.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match self {
            Self::Usage(_) | Self::Config(_) | Self::Spec(_) | Self::Item { .. } => Exit::Usage,
            Self::Store(StoreError::Address { .. } | StoreError::Farm { .. } | StoreError::NoDatabase { .. }) => {
                Exit::Usage
            }
            Self::NothingMatched { .. } | Self::Nothing(_) => Exit::NothingSelected,
            Self::NoWorker(_) | Self::Impatient(_) => Exit::Incomplete,
            Self::Killed(exit) => *exit,
            Self::Closed { .. } => Exit::Closed,
            Self::NoFarm | Self::NoJob { .. } | Self::ManyJobs { .. } | Self::Leaving { .. } => Exit::Usage,
            Self::NoTask { .. } | Self::ManyTasks { .. } => Exit::Usage,
            Self::Left(_) => Exit::Interrupted,
            Self::Io { .. } | Self::Store(_) | Self::NoServer { .. } => Exit::Internal,
            Self::Embedded { .. } | Self::Died { .. } | Self::TakenOver(_) => Exit::Internal,
        }
    }

    /// How to repair it, where that is known.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Config(error) => error.hint(),
            Self::Spec(error) => spec_hint(error),
            Self::Store(error) => store_hint(error),
            Self::NothingMatched { .. } => Some("globs are relative to the folder of remuda.toml; `**/` crosses folders".into()),
            Self::Item { problem, .. } if problem.contains("bytes") => Some("give it a shorter name, or write the data to a file and give that file's name".into()),
            Self::NoServer { .. } => Some(
                "install one (Debian and Ubuntu: `sudo apt install redis-server`, Fedora: `sudo dnf install valkey`, macOS: `brew install redis`),\n\
                 name one in REMUDA_REDIS_SERVER, or use a farm with --redis URL"
                    .into(),
            ),
            Self::Io { source, .. } if source.kind() == std::io::ErrorKind::StorageFull => {
                Some("make room on that disk, or name a file on another one".into())
            }
            Self::Died { .. } => Some(
                "see whether the machine ran out of memory (`dmesg`), or whether a test kills processes that it did not start; then run it again".into(),
            ),
            Self::NoFarm => Some(
                "name one with --redis URL, REMUDA_REDIS_URL, or `redis = \"…\"` in remuda.toml; an embedded run ends with its program".into(),
            ),
            Self::NoJob { .. } => Some("`remuda status` lists them; ended jobs are kept for a day".into()),
            Self::Leaving { address, .. } => Some(format!(
                "`remuda worker --redis {address}` starts another there; `remuda workers drain` is what `resume` brings back"
            )),
            Self::ManyJobs { .. } => Some("write more of the id".into()),
            Self::ManyTasks { .. } => Some("write more of the name, or all of it".into()),
            Self::NoTask { .. } => Some("a task is named by its id or any part of it that no other has; `remuda status JOB` shows what runs".into()),
            Self::Impatient(job) | Self::Left(job) => Some(format!("`remuda attach {job}` comes back, `remuda cancel {job}` ends it")),
            Self::TakenOver(_) => Some("this one has stopped looking; the job goes on there".into()),
            _ => None,
        }
    }

    /// The whole text for people, several lines.
    #[must_use]
    pub fn render(&self) -> String {
        let mut text = format!("error: {self}");
        if let Some(hint) = self.hint() {
            for (i, line) in hint.lines().enumerate() {
                text.push_str(if i == 0 { "\n  hint: " } else { "\n        " });
                text.push_str(line);
            }
        }
        text
    }
}

fn spec_hint(error: &SpecError) -> Option<String> {
    match error {
        SpecError::UnknownPool { pool, .. } => Some(format!("define it: [pools.{pool}] items = [\"a\", \"b\"]")),
        SpecError::PoolTooSmall { pool, .. } => Some(format!("lock fewer, or give [pools.{pool}] more items")),
        _ => None,
    }
}

fn store_hint(error: &StoreError) -> Option<String> {
    let hint = error.hint()?;
    let own = matches!(error, StoreError::Unreachable { why, .. } if !why.contains("certificate"));
    Some(format!("{hint}{}", if own { "; without --redis, Remuda starts one of its own" } else { "" }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_trouble_with_redis_says_what_to_do() {
        let at = || "redis://lab:6379".to_owned();
        let text = |error: StoreError| Error::from(error).render();
        assert_eq!(
            text(StoreError::Evicting { at: at(), policy: "allkeys-lru".into() }),
            "error: cannot use Redis at redis://lab:6379: its maxmemory-policy is `allkeys-lru`, which may drop tasks and locks\n  \
             hint: set `maxmemory-policy noeviction` in its configuration (CONFIG SET maxmemory-policy noeviction)"
        );
        assert_eq!(
            text(StoreError::TooOld { at: at(), version: "6.2.1".into() }),
            "error: cannot use Redis 6.2.1 at redis://lab:6379: 7.0 or newer is needed, or Valkey\n  hint: update it, or use another server"
        );
        let auth = |why: &str| Error::from(StoreError::Auth { at: at(), why: why.into() }).hint().unwrap();
        assert!(auth("\"NOAUTH\": Authentication required.").starts_with("put user and password into"));
        assert!(auth("Password authentication failed").starts_with("the user or the password in the address is not"));
        for error in [StoreError::Full { at: at() }, StoreError::Auth { at: at(), why: "WRONGPASS".into() }] {
            let error = Error::from(error);
            assert_eq!(error.exit().code(), 3);
            assert!(error.hint().is_some());
        }
    }

    #[test]
    fn a_text_that_fits_many_tasks_names_some_and_counts_the_rest() {
        let some = vec!["`a1`".to_owned(), "`a2`".to_owned()];
        let error = Error::ManyTasks { text: "a".into(), job: "j".into(), count: 9, some };
        assert_eq!(
            error.render(),
            "error: `a` fits 9 tasks of job j: `a1`, `a2` and 7 more\n  hint: write more of the name, or all of it"
        );
    }

    #[test]
    fn without_a_server_it_says_how_to_install_one() {
        let error = Error::NoServer { tried: "redis-server and valkey-server on PATH".into() };
        assert_eq!(error.exit().code(), 3);
        assert!(error.render().starts_with("error: no Redis server found to run tests with: tried redis-server and valkey-server on PATH\n  hint: install one (Debian"));
    }
}
