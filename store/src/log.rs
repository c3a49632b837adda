//! `log`: live output of an attempt. Wrapper of `scripts/log.lua`.

use crate::connection::Store;
use crate::error::StoreError;
use crate::reply::{list, number, text};
use crate::scripts::Name;

/// What became of a piece of output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Logged {
    /// It is there; the next offset.
    Ok(u64),
    /// Earlier bytes are missing; the offset wanted.
    Gap(u64),
    /// The claim is no longer held.
    Stale,
}

impl Store {
    /// Appends `bytes` at `offset` of the output of one attempt; `stream` is `o` or `e`.
    ///
    /// # Errors
    /// The server's.
    pub async fn log(
        &self,
        fence: u64,
        task: u32,
        offset: u64,
        stream: &str,
        bytes: &[u8],
    ) -> Result<Logged, StoreError> {
        let words = [fence.to_string(), task.to_string(), offset.to_string()];
        let args = [words[0].as_bytes(), words[1].as_bytes(), words[2].as_bytes(), stream.as_bytes(), bytes];
        let answer = list(self.call(Name::Log, &args).await?);
        let offset = answer.get(1).map(number).unwrap_or_default();
        Ok(match answer.first().map(text).unwrap_or_default().as_str() {
            "OK" => Logged::Ok(offset),
            "EGAP" => Logged::Gap(offset),
            _ => Logged::Stale,
        })
    }
}
