//! `remuda workers`: who is on a farm; out of service and back.

use std::time::Duration;

use remuda_store::{Served, Service};
use serde_json::json;

use crate::cli::Global;
use crate::cli::verbs::{Chosen, Workers, WorkersVerb};
use crate::error::{Error, Exit};
use crate::farm::Farm;
use crate::follow::fit::start_line;
use crate::overview::{self, Worker};
use crate::report::text::length;

use super::table::Table;

/// Does it.
///
/// # Errors
/// There is no such worker.
pub async fn run(global: &Global, args: &Workers) -> Result<Exit, Error> {
    let farm = Farm::connect(global).await?;
    match &args.what {
        None => list(&farm, args.json).await,
        Some(WorkersVerb::List { json }) => list(&farm, *json).await,
        Some(WorkersVerb::Drain(chosen)) => {
            ask(&farm, chosen, Service::Paused, "ends what it runs and takes no more").await
        }
        Some(WorkersVerb::Resume(chosen)) => ask(&farm, chosen, Service::Full, "takes work").await,
        Some(WorkersVerb::Remove(chosen)) => ask(&farm, chosen, Service::Leaving, "ends what it runs and leaves").await,
    }
}

async fn list(farm: &Farm, as_json: bool) -> Result<Exit, Error> {
    let (workers, now) = (overview::workers(&farm.store).await?, farm.store.now_ms().await?);
    if as_json {
        let all: Vec<_> = workers.iter().map(|w| as_value(w, now)).collect();
        println!("{}", json!(all));
        return Ok(Exit::Passed);
    }
    if workers.is_empty() {
        println!(
            "no worker is on farm `{}`; start one with `{}`",
            farm.store.farm(),
            start_line(farm.store.farm(), farm.store.address())
        );
        return Ok(Exit::Passed);
    }
    let mut table = Table::new(["HOST", "ID", "SLOTS", "BUSY", "STATE", "SEEN", "VERSION", "LABELS"]);
    for worker in &workers {
        let books = &worker.books;
        table.row([
            worker.host.clone(),
            worker.short_id(),
            books.slots.to_string(),
            worker.busy().to_string(),
            state(worker).to_owned(),
            format!("{} ago", length(Duration::from_millis(now.saturating_sub(books.seen_ms.max(books.joined_ms))))),
            worker.version.clone(),
            books.labels.clone(),
        ]);
    }
    print!("{}", table.shown());
    Ok(Exit::Passed)
}

fn state(worker: &Worker) -> &'static str {
    match (worker.books.drain, worker.running.is_empty()) {
        _ if worker.silent.is_some() => "silent",
        _ if worker.books.leaving => "leaving",
        (true, true) => "drained",
        (true, false) => "draining",
        (false, true) => "idle",
        (false, false) => "busy",
    }
}

fn as_value(worker: &Worker, now: u64) -> serde_json::Value {
    let books = &worker.books;
    let running: serde_json::Value = serde_json::from_str(&books.running).unwrap_or_default();
    let labels: Vec<&str> = books.labels.split(',').filter(|l| !l.is_empty()).collect();
    json!({"id": books.id, "host": worker.host, "version": worker.version, "slots": books.slots, "state": state(worker),
        "labels": labels, "seen_ms_ago": now.saturating_sub(books.seen_ms.max(books.joined_ms)), "running": running})
}

async fn ask(farm: &Farm, chosen: &Chosen, service: Service, what: &str) -> Result<Exit, Error> {
    let workers = overview::workers(&farm.store).await?;
    let mut asked: Vec<&Worker> = Vec::new();
    for text in &chosen.workers {
        let found: Vec<&Worker> =
            workers.iter().filter(|w| w.host == *text || w.books.id.starts_with(text.as_str())).collect();
        if found.is_empty() {
            let known: Vec<&str> = workers.iter().map(|w| w.name.as_str()).collect();
            return Err(Error::Usage(format!(
                "there is no worker `{text}` on farm `{}`; there are: {}",
                farm.store.farm(),
                known.join(", ")
            )));
        }
        asked.extend(found);
    }
    if chosen.all {
        asked.extend(&workers);
    }
    let mut leaving = Vec::new();
    for worker in &asked {
        let name = format!("{} ({})", worker.host, worker.short_id());
        match farm.store.drain(&worker.books.id, service).await? {
            Served::Asked if worker.silent.is_some() => {
                println!("{name} is silent: it is told if it comes back, and forgotten when its leases have ended")
            }
            Served::Asked => println!("{name} {what}"),
            Served::Unknown => println!("{name} has left meanwhile"),
            Served::Leaving if service == Service::Full => leaving.push(name),
            Served::Leaving => println!("{name} is leaving: it takes no more"),
        }
    }
    // of all workers, those that can are back; who was named, or is the last, is missed
    if leaving.is_empty() || (chosen.all && leaving.len() < asked.len()) {
        return Ok(Exit::Passed);
    }
    Err(Error::Leaving { workers: leaving, address: farm.store.address().to_owned() })
}
