//! `remuda explain`: what became of a task, where it runs, or why it waits.

use std::time::Duration;

use remuda_protocol::outcome::Outcome;
use remuda_store::TaskRecord;
use serde_json::json;

use crate::cli::Global;
use crate::cli::verbs::Explain;
use crate::error::{Error, Exit};
use crate::farm::Farm;
use crate::overview::tasks::Found;
use crate::overview::{Overview, Worker, waits};
use crate::report::rerun;
use crate::report::text::{count, length, name, status_word};

/// Does it.
///
/// # Errors
/// There is no such job or task.
pub async fn run(global: &Global, args: &Explain) -> Result<Exit, Error> {
    let farm = Farm::connect(global).await?;
    let head = farm.job(&args.job).await?;
    let job = Overview::read(&farm.store, head).await?;
    let found = job.find(&farm.store, &args.task).await?;
    let record = job.record(&farm.store, &found).await?;
    let message = match &record {
        Some(record) if record.outcome.is_some() => {
            let details = farm.store.details(&job.head.id, &[(found.group, found.task, record.fence)]).await?;
            details.into_iter().next().flatten().map(|d| if d.message.is_empty() { d.reason } else { d.message })
        }
        _ => None,
    };
    let sentence = sentence(&job, &found, record.as_ref());
    if args.json {
        let outcome = record.as_ref().and_then(|r| r.outcome).map(Outcome::word);
        println!(
            "{}",
            json!({"job": job.head.id, "group": job.spec.groups[found.group as usize].name, "task": found.task, "id": found.id,
                "outcome": outcome, "explanation": sentence, "message": message})
        );
        return Ok(Exit::Passed);
    }
    println!("{}", name(&found.id));
    println!("  {sentence}");
    if let Some(line) = message.as_deref().and_then(|m| m.lines().next()).filter(|l| !l.is_empty()) {
        println!("  because: {line}");
    }
    if record.as_ref().is_none_or(|r| r.outcome.is_none()) {
        for (worker, refusal) in job.refusals() {
            println!("  {} cannot run it: {}", worker.name, refusal.reason);
        }
    }
    if let Some(before) = record.as_ref().and_then(before) {
        println!("  before that: {before}");
    }
    if let Some(line) = rerun::line(&job.spec, found.group, found.task, &found.id) {
        println!("  again: {}", name(&line));
    }
    Ok(Exit::Passed)
}

/// What earlier attempts came to.
fn before(record: &TaskRecord) -> Option<String> {
    let last = u32::from(record.outcome.is_some_and(Outcome::is_failure));
    let (failed, lost) = (record.fails.saturating_sub(last), record.losses + record.company);
    let mut parts = Vec::new();
    if failed > 0 {
        parts.push(format!("failed {}", count(failed.into(), "time")));
    }
    if lost > 0 {
        parts.push(format!("lost its worker {}", count(lost.into(), "time")));
    }
    (!parts.is_empty()).then(|| parts.join(", "))
}

/// Of a task in the hands of a worker that does not answer.
fn held(job: &Overview, fence: u64) -> Option<String> {
    let of = |worker: &Worker| worker.held.iter().find(|claim| claim.fence == fence).map(|claim| claim.until_ms);
    let (worker, until) = job.workers.iter().find_map(|worker| Some((worker, of(worker)?)))?;
    let wait = length(Duration::from_millis(until.saturating_sub(job.now_ms)));
    Some(format!("{}: it goes back when its lease ends, in {wait}", worker.silence()?))
}

fn sentence(job: &Overview, found: &Found, record: Option<&TaskRecord>) -> String {
    let group = &job.state.groups[found.group as usize];
    match record {
        Some(TaskRecord { outcome: Some(outcome), us, .. }) => {
            format!("{} after {}", status_word(*outcome).0.to_lowercase(), length(Duration::from_micros(*us)))
        }
        Some(record) if record.running => match job.running().find(|(_, r)| r.fence == record.fence) {
            Some((worker, slot)) if slot.task == found.task && slot.ms.is_some() => {
                format!(
                    "runs on {}/{} for {}{}",
                    worker.name,
                    slot.slot,
                    length(Duration::from_millis(slot.ms.unwrap_or(0))),
                    slot.holding()
                )
            }
            Some((worker, slot)) => {
                format!("queued on {}/{}: it runs what comes before{}", worker.name, slot.slot, slot.holding())
            }
            None => {
                held(job, record.fence).unwrap_or_else(|| "claimed a moment ago, or its worker has just died".into())
            }
        },
        _ if group.state == "skipped" || group.state == "cancelled" => {
            let why = if group.reason.is_empty() { String::new() } else { format!(": {}", group.reason) };
            format!("never ran: its group was {}{why}", group.state)
        }
        _ if job.head.ended_ms.is_some() => format!("never ran: the job ended as {}", job.head.state),
        _ => {
            let why = waits::why(&job.spec, &job.state, found.group, &job.workers, &job.pools);
            format!("waits: {}", why.unwrap_or_else(|| "a slot takes it next".into()))
        }
    }
}
