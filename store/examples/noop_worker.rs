//! A worker with a handler of its own, in one file, and what gives it work: the protocol without processes.
//!
//! `noop_worker submit URL JOB N` queues N tasks; `noop_worker work URL MOST` says that it is ready, runs tasks, at most
//! MOST in one claim, from a line on standard input until SIGTERM, then prints what it did. `bench/cases/protocol.py`
//! measures both.

use std::error::Error;
use std::time::Duration;

use remuda_protocol::outcome::Outcome;
use remuda_protocol::spec::{Adapter, GroupKind, GroupSpec, JobSpec, LaneSpec, Template, Tree};
use remuda_store::{
    Added, Bell, Claim, ConnectOptions, Entry, ITEMS, NextCall, Opened, Registration, Sealed, Store, TaskResult,
    Verdict, Want,
};
use tokio::signal::unix::{SignalKind, signal};
use uuid::Uuid;

type Failed = Box<dyn Error>;

const FARM: &str = "bench";
const LEASE_MS: u64 = 30_000;
/// About how much work a claim should cover.
const BUDGET_US: u64 = 200_000;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failed> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["submit", url, job, tasks] => submit(url, job, tasks.parse()?).await,
        ["work", url, most] => work(url, most.parse()?).await,
        _ => Err("usage: noop_worker submit URL JOB N | noop_worker work URL MOST".into()),
    }
}

/// Queues a job of one group.
async fn submit(url: &str, job: &str, tasks: usize) -> Result<(), Failed> {
    let store = Store::connect(ConnectOptions::new(url, FARM)).await?;
    if store.open(&spec(job), "bench", 0).await? != Opened::New {
        return Err(format!("job {job} is there already").into());
    }
    for first in (0..tasks).step_by(ITEMS) {
        let ids: Vec<String> = (first..tasks.min(first + ITEMS)).map(id).collect();
        let (first, count) = (u32::try_from(first)?, u32::try_from(ids.len())?);
        let run = Entry { lane: 0, first, count, us: -1, cost: -1, whole: false, more: first > 0 };
        if store.add(job, 0, 0, first, &ids, &[run]).await? != Added::New(first + count) {
            return Err(format!("tasks from {first} were not added").into());
        }
    }
    if store.seal(job, 0, 0, u32::try_from(tasks)?).await? != Sealed::New || store.seal_job(job).await? != Sealed::New {
        return Err(format!("job {job} was not sealed").into());
    }
    Ok(())
}

/// A test id of 60 bytes.
fn id(number: usize) -> String {
    format!("tests/unit/test_module_{:04}.py::test_case_number_{number:014}", number / 50)
}

fn spec(job: &str) -> JobSpec {
    let group = GroupSpec {
        name: "noop".to_owned(),
        kind: GroupKind::Tests,
        needs: Vec::new(),
        collects: None,
        adapter: Adapter::Command { template: Template::Argv(vec!["true".to_owned()]) },
        lanes: vec![LaneSpec::default()],
        retries: 0,
        max_losses: 1,
        timeout_ms: None,
        timeout_percent: 0,
        grace_ms: 1_000,
        cancel_grace_ms: 1_500,
        slow_ms: 60_000,
        env: Default::default(),
        only: Vec::new(),
        whole_output: false,
    };
    JobSpec {
        protocol: remuda_protocol::PROTOCOL,
        id: job.to_owned(),
        name: "noop".to_owned(),
        submitter: "bench".to_owned(),
        project: "bench".to_owned(),
        priority: 0,
        weight: 1,
        max_slots: 0,
        deadline_ms: None,
        max_failures: 0,
        halt_soon: false,
        fail_on_flaky: false,
        echo: None,
        detach: true,
        retention_ms: 3_600_000,
        detail_budget: 1 << 20,
        tree: Tree { path: "/".to_owned(), host: String::new(), mark: String::new() },
        env: Default::default(),
        pools: Default::default(),
        groups: vec![group],
    }
}

/// What a worker did.
#[derive(Default)]
struct Tally {
    handled: u64,
    accepted: u64,
    calls: u64,
}

/// The handler.
fn handle(id: &str) -> Outcome {
    std::hint::black_box(id);
    Outcome::Passed
}

/// Results of one call are the next call's arguments: finish and claim are one round trip. No beat is needed: no
/// claim lives longer than that, and `next` keeps the worker on the books.
async fn work(url: &str, most: u32) -> Result<(), Failed> {
    let store = Store::connect(ConnectOptions::new(url, FARM)).await?;
    let worker = Uuid::new_v4().to_string();
    let mut me = Registration { worker: worker.clone(), lease_ms: LEASE_MS, slots: 1, ..Registration::default() };
    me.about = r#"{"host":"bench"}"#.to_owned();
    store.resync(&me).await?;
    let mut bell = Bell::new(&store, "");
    let mut stop = signal(SignalKind::terminate())?;
    println!("ready");
    std::io::stdin().read_line(&mut String::new())?;
    let (mut tally, mut results, mut warm) = (Tally::default(), Vec::new(), None);
    loop {
        let want = Want { slot: 0, max: most, budget_us: BUDGET_US, warm: warm.clone(), with_ms: 0 };
        let nonce = tally.calls.to_string();
        let call = NextCall {
            worker: worker.clone(),
            nonce,
            lease_ms: LEASE_MS,
            results,
            wants: vec![want],
            loaded: Vec::new(),
        };
        let reply = store.next(&call).await?;
        tally.calls += 1;
        tally.accepted += reply.verdicts.iter().filter(|v| **v == Verdict::Ok).count() as u64;
        results = reply.claims.iter().flat_map(run).collect();
        tally.handled += results.len() as u64;
        if let Some(claim) = reply.claims.last() {
            warm = Some((claim.job.clone(), claim.lane));
        } else {
            tokio::select! {
                _ = bell.wait(Duration::from_millis(reply.wait_ms)) => {}
                _ = stop.recv() => break,
            }
        }
    }
    store.resync(&Registration { leave: true, ..me }).await?;
    println!(r#"{{"handled": {}, "accepted": {}, "calls": {}}}"#, tally.handled, tally.accepted, tally.calls);
    Ok(())
}

/// Runs the tasks of a claim.
fn run(claim: &Claim) -> Vec<TaskResult> {
    let one = |(task, id): (u32, &String)| {
        let began = std::time::Instant::now();
        let outcome = Some(handle(id));
        let us = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
        let (job, group, detail) = (claim.job.clone(), claim.group, Vec::new());
        TaskResult { fence: claim.fence, job, group, task, outcome, us, wide_us: 0, detail }
    };
    (claim.first..).zip(&claim.ids).map(one).collect()
}
