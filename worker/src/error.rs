//! What ends the daemon: message, repair, exit code. Of Redis the words are the store's, as the client's are.

use remuda_store::StoreError;

/// Why the daemon could not start or go on.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// A setting cannot be used.
    #[error("{0}")]
    Setting(String),
    /// Redis.
    #[error("failed to {0}")]
    Store(#[from] StoreError),
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

impl WorkerError {
    /// How to repair it, where that is known.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Store(error) => error.hint(),
            _ => None,
        }
    }

    /// The exit code: 2 for what was typed, 3 for the rest.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Setting(_)
            | Self::Store(StoreError::Address { .. } | StoreError::Farm { .. } | StoreError::NoDatabase { .. }) => 2,
            _ => 3,
        }
    }
}
