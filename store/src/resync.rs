//! `resync`: a worker registers, says what it holds, returns a predecessor's work, or leaves. Wrapper of
//! `scripts/resync.lua`.

use crate::connection::Store;
use crate::error::StoreError;
use crate::reply::{list, text};
use crate::scripts::Name;

/// Who a worker is.
#[derive(Clone, Debug, Default)]
pub struct Registration {
    /// Worker id, a UUID of this process.
    pub worker: String,
    /// Lease asked for, ms.
    pub lease_ms: u64,
    /// Labels, canonical (sorted, joined by commas).
    pub labels: String,
    /// Number of slots.
    pub slots: u32,
    /// JSON for `status`: host, version, pid.
    pub about: String,
    /// A dead daemon of the same state folder, whose work goes back at once.
    pub predecessor: Option<String>,
    /// It leaves for good.
    pub leave: bool,
    /// It claims no more: the rests of its slots' runs go back.
    pub drain: bool,
    /// Claims it holds.
    pub held: Vec<u64>,
}

/// The answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resynced {
    /// Claims it must forget: they are no longer its own.
    pub forget: Vec<u64>,
}

impl Store {
    /// Registers or leaves; whatever else is on the worker's books goes back.
    ///
    /// # Errors
    /// The server's.
    pub async fn resync(&self, who: &Registration) -> Result<Resynced, StoreError> {
        let mut owned = vec![
            who.worker.clone(),
            who.lease_ms.to_string(),
            who.labels.clone(),
            who.slots.to_string(),
            who.about.clone(),
            who.predecessor.clone().unwrap_or_default(),
            match (who.leave, who.drain) {
                (true, _) => "leave",
                (false, true) => "drain",
                (false, false) => "join",
            }
            .to_owned(),
        ];
        owned.extend(who.held.iter().map(u64::to_string));
        let args: Vec<&[u8]> = owned.iter().map(String::as_bytes).collect();
        let mut forget = Vec::new();
        loop {
            let answer = list(self.call(Name::Resync, &args).await?);
            forget.extend(answer.iter().skip(2).filter_map(|f| text(f).parse::<u64>().ok()));
            if answer.first().map(text).as_deref() != Some("MORE") {
                forget.sort_unstable();
                forget.dedup();
                return Ok(Resynced { forget });
            }
        }
    }
}
