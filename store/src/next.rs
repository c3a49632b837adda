//! `next`: results in, claims out; the whole hot path. Wrapper of `scripts/next.lua`.

use remuda_protocol::outcome::Outcome;

use crate::connection::Store;
use crate::error::StoreError;
use crate::reply::{list, number, text, texts};
use crate::scripts::Name;

/// The result of one attempt.
#[derive(Clone, Debug, PartialEq)]
pub struct TaskResult {
    /// Fence of the claim.
    pub fence: u64,
    /// Job id.
    pub job: String,
    /// Group number.
    pub group: u32,
    /// Task number.
    pub task: u32,
    /// `None`: given back, not started.
    pub outcome: Option<Outcome>,
    /// Duration, µs.
    pub us: u64,
    /// Part of it that set up wider fixtures, µs.
    pub wide_us: u64,
    /// JSON of a [`remuda_protocol::outcome::Detail`], or empty.
    pub detail: Vec<u8>,
}

/// A slot that wants work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Want {
    /// The worker's slot.
    pub slot: u32,
    /// Most tasks.
    pub max: u32,
    /// About how much work, µs.
    pub budget_us: u64,
    /// Job and lane it is warm for.
    pub warm: Option<(String, u32)>,
    /// How long it has been with that job, ms.
    pub with_ms: u64,
}

/// One call.
#[derive(Clone, Debug, Default)]
pub struct NextCall {
    /// Worker id.
    pub worker: String,
    /// New for every new call, the same when a call is repeated.
    pub nonce: String,
    /// Lease of new claims, ms.
    pub lease_ms: u64,
    /// Results, at most [`crate::ITEMS`].
    pub results: Vec<TaskResult>,
    /// Slots that want work, at most 64.
    pub wants: Vec<Want>,
    /// Job and group whose suite this host has loaded.
    pub loaded: Vec<(String, u32)>,
}

/// What became of a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Accepted.
    Ok,
    /// Accepted before; nothing changed.
    Duplicate,
    /// Its lease has gone to somebody else; nothing changed.
    Stale,
}

/// One lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Its fencing number.
    pub fence: u64,
    /// Job id.
    pub job: String,
    /// Group number.
    pub group: u32,
    /// Lane number.
    pub lane: u32,
    /// Slot number unique in the job.
    pub place: u32,
    /// First task.
    pub first: u32,
    /// The worker's slot it was given to.
    pub slot: u32,
    /// Items held, by pool.
    pub locks: Vec<(String, Vec<String>)>,
    /// For each task, which attempt this is (1 the first).
    pub attempts: Vec<u32>,
    /// For each task, its id.
    pub ids: Vec<String>,
}

/// The answer.
#[derive(Clone, Debug, Default)]
pub struct NextReply {
    /// Redis time, ms.
    pub now_ms: u64,
    /// Ask again after so many ms even if no bell rings.
    pub wait_ms: u64,
    /// One for each result.
    pub verdicts: Vec<Verdict>,
    /// The claims.
    pub claims: Vec<Claim>,
    /// Job and group whose suite should be loaded here.
    pub prepare: Vec<(String, u32)>,
    /// Of the loaded ones: those whose group has ended.
    pub over: Vec<(String, u32)>,
}

impl Store {
    /// Reports and claims.
    ///
    /// # Errors
    /// [`StoreError::UnknownWorker`] (resync first; nothing was done), or the server's.
    pub async fn next(&self, call: &NextCall) -> Result<NextReply, StoreError> {
        let owned = arguments(call);
        let args: Vec<&[u8]> = owned.iter().map(Vec::as_slice).collect();
        let mut answer = list(self.call(Name::Next, &args).await?).into_iter();
        let status = answer.next().as_ref().map(text).unwrap_or_default();
        match status.as_str() {
            "OK" => {}
            "UNKNOWN" => return Err(StoreError::UnknownWorker { worker: call.worker.clone() }),
            _ => {
                let why =
                    format!("{status}: {} results and {} wants in one call", call.results.len(), call.wants.len());
                return Err(StoreError::Script { at: self.address().to_owned(), script: "next".to_owned(), why });
            }
        }
        let (now, wait) = (answer.next(), answer.next());
        let verdicts = answer.next().map(texts).unwrap_or_default();
        let claims = answer.next().map(list).unwrap_or_default();
        let prepare = answer.next().map(texts).unwrap_or_default();
        let over = answer.next().map(texts).unwrap_or_default();
        Ok(NextReply {
            now_ms: now.as_ref().map(number).unwrap_or_default(),
            wait_ms: wait.as_ref().map(number).unwrap_or_default(),
            verdicts: verdicts.iter().map(|v| verdict(v)).collect(),
            claims: claims.into_iter().map(claim).collect(),
            prepare: prepare.iter().filter_map(|p| job_and_group(p)).collect(),
            over: over.iter().filter_map(|p| job_and_group(p)).collect(),
        })
    }
}

fn arguments(call: &NextCall) -> Vec<Vec<u8>> {
    let head = [
        call.worker.clone(),
        call.nonce.clone(),
        call.lease_ms.to_string(),
        call.results.len().to_string(),
        call.wants.len().to_string(),
        call.loaded.len().to_string(),
    ];
    let mut args: Vec<Vec<u8>> = head.into_iter().map(String::into_bytes).collect();
    for r in &call.results {
        let letter = r.outcome.map_or('Y', Outcome::letter).to_string();
        let words = [
            r.fence.to_string(),
            r.job.clone(),
            r.group.to_string(),
            r.task.to_string(),
            letter,
            r.us.to_string(),
            r.wide_us.to_string(),
        ];
        args.extend(words.into_iter().map(String::into_bytes));
        args.push(r.detail.clone());
    }
    for w in &call.wants {
        let (job, lane) = w.warm.clone().map_or_else(Default::default, |(j, l)| (j, l.to_string()));
        let words = [w.slot.to_string(), w.max.to_string(), w.budget_us.to_string(), job, lane, w.with_ms.to_string()];
        args.extend(words.into_iter().map(String::into_bytes));
    }
    args.extend(call.loaded.iter().map(|(job, group)| format!("{job}:{group}").into_bytes()));
    args
}

fn verdict(word: &str) -> Verdict {
    match word {
        "OK" => Verdict::Ok,
        "DUP" => Verdict::Duplicate,
        _ => Verdict::Stale,
    }
}

fn job_and_group(text: &str) -> Option<(String, u32)> {
    let (job, group) = text.rsplit_once(':')?;
    Some((job.to_owned(), group.parse().ok()?))
}

fn claim(value: redis::Value) -> Claim {
    let mut parts = list(value);
    let ids = parts.pop().map(texts).unwrap_or_default();
    let attempts = parts.pop().map(list).unwrap_or_default().iter().map(number).collect();
    let at = |i: usize| parts.get(i).map(text).unwrap_or_default();
    let n = |i: usize| parts.get(i).map(number::<u32>).unwrap_or_default();
    Claim {
        fence: at(0).parse().unwrap_or_default(),
        job: at(1),
        group: n(2),
        lane: n(3),
        place: n(4),
        first: n(5),
        slot: n(7),
        locks: locks(&at(8)),
        attempts,
        ids,
    }
}

fn locks(held: &str) -> Vec<(String, Vec<String>)> {
    held.split(';')
        .filter_map(|lock| lock.split_once('='))
        .map(|(pool, items)| (pool.to_owned(), items.split('|').filter(|i| !i.is_empty()).map(plain_item).collect()))
        .collect()
}

/// An item as the scripts keep it: without the signs that part items and pools from each other.
pub(crate) fn escape_item(item: &str) -> String {
    if item.is_empty() {
        return "%".to_owned();
    }
    item.replace('%', "%25").replace('|', "%7C").replace(';', "%3B")
}

fn plain_item(escaped: &str) -> String {
    if escaped == "%" {
        return String::new();
    }
    escaped.replace("%3B", ";").replace("%7C", "|").replace("%25", "%")
}

#[cfg(test)]
mod tests {
    use super::{escape_item, locks};

    #[test]
    fn items_may_hold_the_signs_that_part_them() {
        let items = ["usb|1;2", "100%7C", "", "a=b"];
        let held = format!("board={};lab=x", items.map(escape_item).join("|"));
        assert_eq!(
            locks(&held),
            [("board".to_owned(), items.map(str::to_owned).to_vec()), ("lab".to_owned(), vec!["x".to_owned()])]
        );
    }
}
