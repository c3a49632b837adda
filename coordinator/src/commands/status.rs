//! `remuda status`: all jobs of a farm, or one of them from near.

use std::time::Duration;

use remuda_protocol::outcome::Outcome;
use remuda_store::JobHead;
use serde_json::{Map, Value, json};

use crate::cli::Global;
use crate::cli::verbs::Status;
use crate::error::{Error, Exit};
use crate::farm::Farm;
use crate::overview::{self, Far, Overview, RunningTask, Worker, waits};
use crate::report::text::{count, length, name};

use super::table::Table;

/// Running tasks shown of one job.
const SHOWN: usize = 40;

/// Does it.
///
/// # Errors
/// There is no such job.
pub async fn run(global: &Global, args: &Status) -> Result<Exit, Error> {
    let farm = Farm::connect(global).await?;
    match &args.job {
        Some(text) => {
            let head = farm.job(text).await?;
            one(&farm, &Overview::read(&farm.store, head).await?, args.json).await?;
        }
        None => all(&farm, args.json).await?,
    }
    Ok(Exit::Passed)
}

async fn all(farm: &Farm, as_json: bool) -> Result<(), Error> {
    let (heads, workers) = (farm.store.heads().await?, overview::workers(&farm.store).await?);
    let now = farm.store.now_ms().await?;
    let mut table = Table::new(["JOB", "SINCE", "STATE", "DONE", "ETA", "WHO", "WHAT"]);
    let mut values = Vec::new();
    for head in &heads {
        let far = Far::of(&farm.store.snapshot(&head.id).await?.groups);
        let slots = workers.iter().flat_map(|w| &w.running).filter(|r| r.job == head.id).count();
        let eta = if head.ended_ms.is_none() { far.eta(slots) } else { None };
        let mut value = head_value(head, &far, now);
        value.extend([("slots", json!(slots)), ("eta_ms", json!(eta.map(|e| e.as_millis() as u64)))].map(field));
        values.push(Value::Object(value));
        let failed = if far.failed > 0 { format!(", {} failed", far.failed) } else { String::new() };
        table.row([
            head.id.chars().take(8).collect(),
            length(overview::since(head, now)),
            overview::word(head, &far).to_owned(),
            format!("{}/{}{failed}", far.done, far.total),
            eta.map(length).unwrap_or_default(),
            head.submitter.clone(),
            name(&head.name).chars().take(60).collect(),
        ]);
    }
    if as_json {
        println!("{}", json!(values));
    } else if heads.is_empty() {
        println!("no job is on farm `{}`; {}", farm.store.farm(), crew(&workers));
    } else {
        print!("{}", table.shown());
        println!("{}", crew(&workers));
    }
    Ok(())
}

fn crew(workers: &[Worker]) -> String {
    let slots: u64 = workers.iter().map(|w| u64::from(w.books.slots)).sum();
    let busy: usize = workers.iter().map(Worker::busy).sum();
    let silent = match workers.iter().filter(|w| w.silent.is_some()).count() {
        0 => String::new(),
        n => format!("; {n} of them silent"),
    };
    format!("{}, {}, {busy} busy{silent}", count(workers.len() as u64, "worker"), count(slots, "slot"))
}

async fn one(farm: &Farm, job: &Overview, as_json: bool) -> Result<(), Error> {
    let mut running = Vec::new();
    for (worker, task) in job.running() {
        let id = farm.store.ids(&job.head.id, task.group, task.task, 1).await?.pop().unwrap_or_default();
        running.push((worker, task, id));
    }
    running.sort_by_key(|(_, task, _)| std::cmp::Reverse(task.ms));
    if as_json {
        println!("{}", as_value(job, &running));
        return Ok(());
    }
    let far = Far::of(&job.state.groups);
    let detached = if job.head.detached { ", detached" } else { "" };
    println!("job {}  {}", job.head.id, name(&job.head.name));
    println!(
        "  of {}, {}{}{detached}",
        job.head.submitter,
        overview::word(&job.head, &far),
        if job.head.ended_ms.is_some() {
            format!(" after {}", length(job.took()))
        } else {
            format!(" for {}", length(job.took()))
        },
    );
    println!("groups");
    print!("{}", groups(job));
    for (worker, refusal) in job.refusals() {
        println!("  {} cannot run it: {}", worker.name, refusal.reason);
    }
    if !running.is_empty() {
        println!("running");
    }
    for (worker, task, id) in running.iter().take(SHOWN) {
        println!("  {}", running_line(worker, task, id));
    }
    if running.len() > SHOWN {
        println!("  and {} more", running.len() - SHOWN);
    }
    for line in silent(job) {
        println!("{line}");
    }
    Ok(())
}

/// What workers hold that do not answer, and when others get it.
fn silent(job: &Overview) -> Vec<String> {
    let line = |worker: &Worker| {
        let its = || worker.held.iter().filter(|claim| claim.job == job.head.id);
        let (left, until) = (its().map(|claim| u64::from(claim.left)).sum(), its().map(|claim| claim.until_ms).max()?);
        let wait = Duration::from_millis(until.saturating_sub(job.now_ms));
        Some(format!("{} and holds {}: its lease ends in {}", worker.silence()?, count(left, "task"), length(wait)))
    };
    job.workers.iter().filter_map(line).collect()
}

/// What both lists say of a job. `shown` is its state in the word that people read.
fn head_value(head: &JobHead, far: &Far, now: u64) -> Map<String, Value> {
    let ms = |time: Duration| json!(time.as_millis() as u64);
    let fields = [
        ("id", json!(head.id)),
        ("name", json!(head.name)),
        ("submitter", json!(head.submitter)),
        ("state", json!(head.state)),
        ("shown", json!(overview::word(head, far))),
        ("reason", json!(head.reason)),
        ("since_ms", ms(overview::since(head, now))),
        ("took_ms", ms(overview::took(head, now))),
        ("done", json!(far.done)),
        ("cancelled", json!(far.cancelled)),
        ("total", json!(far.total)),
        ("failed", json!(far.failed)),
        ("detached", json!(head.detached)),
    ];
    fields.map(field).into_iter().collect()
}

fn field((name, value): (&str, Value)) -> (String, Value) {
    (name.to_owned(), value)
}

/// `lab1/0 test_x for 12.3s, holding boards=b1, 3 more in hand`.
#[must_use]
pub fn running_line(worker: &Worker, task: &RunningTask, id: &str) -> String {
    let since =
        task.ms.map_or_else(|| "not begun".to_owned(), |ms| format!("for {}", length(Duration::from_millis(ms))));
    let queued = if task.queued > 0 { format!(", {} more in hand", task.queued) } else { String::new() };
    format!("{}/{} {} {since}{}{queued}", worker.name, task.slot, name(id), task.holding())
}

fn groups(job: &Overview) -> String {
    let mut text = String::new();
    for (number, group) in (0..).zip(&job.state.groups) {
        let ended: u32 = group.ended.iter().sum();
        let far = Far::of(std::slice::from_ref(group));
        let cancelled = group.ended[Outcome::ALL.iter().position(|o| *o == Outcome::Cancelled).unwrap_or_default()];
        let slots = job.running().filter(|(_, task)| task.group == number).count();
        let mut parts = vec![format!("{}/{} ended", ended - cancelled, group.added)];
        parts.extend((cancelled > 0).then(|| format!("{cancelled} cancelled")));
        parts.extend((far.failed > 0).then(|| format!("{} failed", far.failed)));
        parts.extend(far.eta(slots).map(|eta| format!("ETA {}", length(eta))));
        text.push_str(&format!("  {} ({}): {}, {}\n", group.name, group.kind, group.state, parts.join(", ")));
        if !group.reason.is_empty() {
            text.push_str(&format!("      because: {}\n", group.reason));
        }
        if let Some(why) = waits::why(&job.spec, &job.state, number, &job.workers, &job.pools) {
            let waiting = group.added.saturating_sub(ended + group.running);
            text.push_str(&format!("      {} waiting: {why}\n", count(waiting.into(), "task")));
        }
    }
    text
}

fn as_value(job: &Overview, running: &[(&Worker, &RunningTask, String)]) -> Value {
    let groups: Vec<Value> = (0..)
        .zip(&job.state.groups)
        .map(|(number, g)| {
            let ended: serde_json::Map<String, Value> =
                Outcome::ALL.iter().zip(g.ended).map(|(o, n)| (o.word().to_owned(), json!(n))).collect();
            json!({"name": g.name, "kind": g.kind, "state": g.state, "reason": g.reason, "added": g.added, "ready": g.ready,
                "running": g.running, "ended": ended, "flaky": g.flaky,
                "waits": waits::why(&job.spec, &job.state, number, &job.workers, &job.pools)})
        })
        .collect();
    let running: Vec<Value> = running
        .iter()
        .map(|(w, r, id)| json!({"host": w.host, "worker": w.books.id, "slot": r.slot, "group": r.group, "task": r.task, "id": id, "ms": r.ms, "queued": r.queued, "locks": r.locks}))
        .collect();
    let refusals: Vec<Value> =
        job.refusals().map(|(w, r)| json!({"host": w.host, "worker": w.books.id, "reason": r.reason})).collect();
    let mut value = head_value(&job.head, &Far::of(&job.state.groups), job.now_ms);
    value.extend([("groups", json!(groups)), ("running", json!(running)), ("refusals", json!(refusals))].map(field));
    Value::Object(value)
}
