//! `drain`: takes a worker out of service and back. Wrapper of `scripts/drain.lua`.

use crate::connection::Store;
use crate::error::StoreError;
use crate::reply::text;
use crate::scripts::Name;

/// What is asked of a worker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Service {
    /// It takes work.
    #[default]
    Full,
    /// It ends what runs, takes nothing more and stays.
    Paused,
    /// It ends what runs and leaves the farm.
    Leaving,
}

impl Service {
    fn word(self) -> &'static str {
        match self {
            Self::Full => "resume",
            Self::Paused => "pause",
            Self::Leaving => "leave",
        }
    }

    pub(crate) fn from_number(number: u32) -> Self {
        match number {
            0 => Self::Full,
            1 => Self::Paused,
            _ => Self::Leaving,
        }
    }
}

impl Store {
    /// Asks a worker for `service`; false if there is no such worker.
    ///
    /// # Errors
    /// The server's.
    pub async fn drain(&self, worker: &str, service: Service) -> Result<bool, StoreError> {
        let answer = self.call(Name::Drain, &[worker.as_bytes(), service.word().as_bytes()]).await?;
        Ok(text(&answer) == "OK")
    }
}
