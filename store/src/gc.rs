//! `gc`: frees what ended jobs left. Wrapper of `scripts/gc.lua`.

use crate::connection::Store;
use crate::error::StoreError;
use crate::reply::{list, number};
use crate::scripts::Name;

impl Store {
    /// Frees at most `limit` keys of `job`, or of a job whose time has come; returns the keys freed and whether
    /// there is more.
    ///
    /// # Errors
    /// The server's.
    pub async fn gc(&self, limit: u32, job: Option<&str>) -> Result<(u64, bool), StoreError> {
        let limit = limit.to_string();
        let answer = list(self.call(Name::Gc, &[limit.as_bytes(), job.unwrap_or("").as_bytes()]).await?);
        let freed = answer.first().map(number).unwrap_or_default();
        Ok((freed, answer.get(1).map(number::<u32>).unwrap_or_default() == 1))
    }
}
