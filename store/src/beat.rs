//! `beat`: renews leases and hears what must stop. Wrapper of `scripts/beat.lua`.

use crate::connection::Store;
use crate::drain::Service;
use crate::error::StoreError;
use crate::reply::{list, number, text, texts};
use crate::scripts::Name;

/// What a worker says of itself.
#[derive(Clone, Debug, Default)]
pub struct Beat {
    /// Worker id.
    pub worker: String,
    /// Lease asked for, ms.
    pub lease_ms: u64,
    /// What runs, JSON, for `status`.
    pub running: String,
    /// Claims held: fence, and how long its attempt has run, ms.
    pub held: Vec<(u64, u64)>,
}

/// What became of one claim's lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Renewal {
    /// Renewed.
    Ok,
    /// Renewed, but it must stop.
    Cancel,
    /// Renewed, but nothing more of it shall begin.
    Last,
    /// Renewed, but these tasks of it must stop.
    Stop(Vec<u32>),
    /// No longer held: stop it, report nothing.
    Lost,
}

/// The answer.
#[derive(Clone, Debug, Default)]
pub struct BeatReply {
    /// Redis time, ms.
    pub now_ms: u64,
    /// What is asked of this worker.
    pub service: Service,
    /// One for each claim.
    pub renewals: Vec<Renewal>,
    /// Jobs whose live output somebody looks at.
    pub watched: Vec<String>,
}

impl Store {
    /// Beats.
    ///
    /// # Errors
    /// [`StoreError::UnknownWorker`] (resync first), or the server's.
    pub async fn beat(&self, beat: &Beat) -> Result<BeatReply, StoreError> {
        let mut owned = vec![beat.worker.clone(), beat.lease_ms.to_string(), beat.running.clone()];
        owned.extend(beat.held.iter().flat_map(|(fence, ms)| [fence.to_string(), ms.to_string()]));
        let args: Vec<&[u8]> = owned.iter().map(String::as_bytes).collect();
        let mut answer = list(self.call(Name::Beat, &args).await?).into_iter();
        if answer.next().as_ref().map(text).as_deref() != Some("OK") {
            return Err(StoreError::UnknownWorker { worker: beat.worker.clone() });
        }
        let (now, drain) = (answer.next(), answer.next());
        let renewals = answer.next().map(texts).unwrap_or_default();
        Ok(BeatReply {
            now_ms: now.as_ref().map(number).unwrap_or_default(),
            service: Service::from_number(drain.as_ref().map(number::<u32>).unwrap_or_default()),
            renewals: renewals.iter().map(|r| renewal(r)).collect(),
            watched: answer.next().map(texts).unwrap_or_default(),
        })
    }
}

fn renewal(word: &str) -> Renewal {
    match word {
        "OK" => Renewal::Ok,
        "CANCEL" => Renewal::Cancel,
        "LAST" => Renewal::Last,
        word if word.starts_with("STOP ") => {
            Renewal::Stop(word[5..].split(',').filter_map(|task| task.parse().ok()).collect())
        }
        _ => Renewal::Lost,
    }
}
