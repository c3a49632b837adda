//! How full the server is, for whoever looks after it. Reads only; that a full one refuses work is `connection`'s.

use crate::connection::Store;
use crate::error::StoreError;
use crate::reply::text;

/// The server's memory, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// What it uses.
    pub used: u64,
    /// What it may use; 0: as much as there is.
    pub most: u64,
}

impl Memory {
    /// Whether it refuses to store more.
    #[must_use]
    pub fn is_full(self) -> bool {
        self.most > 0 && self.used >= self.most
    }
}

impl Store {
    /// How full the server is.
    ///
    /// # Errors
    /// The server's.
    pub async fn memory(&self) -> Result<Memory, StoreError> {
        let answer = self.read("memory", redis::pipe().cmd("INFO").arg("memory")).await?;
        let info = answer.first().map(text).unwrap_or_default();
        let field = |name: &str| {
            let value = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            value.and_then(|value| value.trim().parse().ok()).unwrap_or_default()
        };
        Ok(Memory { used: field("used_memory"), most: field("maxmemory") })
    }
}
