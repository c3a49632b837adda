//! `reap`: expiries, for a coordinator whose workers may all be dead. Wrapper of `scripts/reap.lua`.

use crate::connection::Store;
use crate::error::StoreError;
use crate::reply::{list, number};
use crate::scripts::Name;

impl Store {
    /// Reaps at most `limit` tasks; returns how many. Does nothing if somebody reaped within two seconds.
    ///
    /// # Errors
    /// The server's.
    pub async fn reap(&self, limit: u32) -> Result<u32, StoreError> {
        let limit = limit.to_string();
        Ok(list(self.call(Name::Reap, &[limit.as_bytes()]).await?).first().map(number).unwrap_or_default())
    }
}
