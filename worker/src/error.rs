//! What ends the daemon.

/// Why the daemon could not start or go on.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// A setting cannot be used.
    #[error("{0}")]
    Setting(String),
    /// Redis.
    #[error("failed to {0}")]
    Store(#[from] remuda_store::StoreError),
    /// Processes could not be supervised.
    #[error("failed to start the warden: {0}")]
    Warden(std::io::Error),
    /// Nobody supervises processes any more.
    #[error("the warden was killed: what ran has ended, and whoever reaps counts it as lost")]
    Unguarded,
    /// The machine refused something.
    #[error("failed to {what}: {error}")]
    Machine {
        /// What was tried.
        what: &'static str,
        /// What came back.
        error: std::io::Error,
    },
}
