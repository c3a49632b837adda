//! What can go wrong between us and Redis, each naming the server.

/// A failure of the store. `at` is the server's address without its password.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The address cannot be understood.
    #[error("read the Redis address `{at}`: {why}")]
    Address {
        /// The address.
        at: String,
        /// What is wrong with it.
        why: String,
    },
    /// No farm can have this name.
    #[error("use the farm `{name}`: {why}")]
    Farm {
        /// The name.
        name: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// Nobody answers.
    #[error("reach Redis at {at}: {why}")]
    Unreachable {
        /// The address.
        at: String,
        /// The last error.
        why: String,
    },
    /// Wrong or missing password or user.
    #[error("log in to Redis at {at}: {why}")]
    Auth {
        /// The address.
        at: String,
        /// The server's words.
        why: String,
    },
    /// Something else listens there.
    #[error("talk to {at}: it does not answer like a Redis ({why})")]
    NotRedis {
        /// The address.
        at: String,
        /// What came instead.
        why: String,
    },
    /// Older than what the scripts need.
    #[error("use Redis {version} at {at}: 7.0 or newer is needed, or Valkey")]
    TooOld {
        /// The address.
        at: String,
        /// Its version.
        version: String,
    },
    /// It may throw keys away.
    #[error("use Redis at {at}: its maxmemory-policy is `{policy}`, which may drop tasks and locks")]
    Evicting {
        /// The address.
        at: String,
        /// Its policy.
        policy: String,
    },
    /// Out of memory.
    #[error("write to Redis at {at}: it has reached its maxmemory")]
    Full {
        /// The address.
        at: String,
    },
    /// The farm was made by another version.
    #[error("use farm `{farm}` at {at}: it has schema {found}, this program has {ours}")]
    Schema {
        /// The address.
        at: String,
        /// The farm.
        farm: String,
        /// Its schema.
        found: String,
        /// Ours.
        ours: u32,
    },
    /// The user may not do what is needed.
    #[error("use Redis at {at}: {why}")]
    Forbidden {
        /// The address.
        at: String,
        /// The server's words.
        why: String,
    },
    /// The server has no database of the address's number.
    #[error("use database {database} of Redis at {at}: {why}")]
    NoDatabase {
        /// The address.
        at: String,
        /// The number.
        database: i64,
        /// The server's words.
        why: String,
    },
    /// A job that is not there (any more).
    #[error("find job {job}")]
    UnknownJob {
        /// Its id.
        job: String,
    },
    /// This worker is not on the books (any more): it must resync.
    #[error("find worker {worker} on the farm's books")]
    UnknownWorker {
        /// Its id.
        worker: String,
    },
    /// A script or its answer is not what this program expects.
    #[error("run `{script}` on Redis at {at}: {why}")]
    Script {
        /// The address.
        at: String,
        /// The script.
        script: String,
        /// What happened.
        why: String,
    },
}

impl StoreError {
    /// Whether the server may come back by itself.
    #[must_use]
    pub fn is_outage(&self) -> bool {
        matches!(self, Self::Unreachable { .. })
    }
}
