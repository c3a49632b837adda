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

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Served {
    /// Its next beat is told.
    Asked,
    /// It is on its way: nothing keeps it.
    Leaving,
    /// There is no such worker (any more).
    Unknown,
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
    /// Asks a worker for `service`.
    ///
    /// # Errors
    /// The server's.
    pub async fn drain(&self, worker: &str, service: Service) -> Result<Served, StoreError> {
        let answer = self.call(Name::Drain, &[worker.as_bytes(), service.word().as_bytes()]).await?;
        Ok(match text(&answer).as_str() {
            "OK" => Served::Asked,
            "ELEAVING" => Served::Leaving,
            _ => Served::Unknown,
        })
    }
}
