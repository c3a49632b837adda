//! What the hot path costs: no-op tasks through `next` with two clients, printed for people. Needs a redis-server.
//!
//! `cargo run --release -p remuda-store --example hotpath [TASKS] [BATCH]`
#![allow(missing_docs, clippy::unwrap_used, clippy::cast_precision_loss)]

#[path = "../tests/support/mod.rs"]
mod support;

use std::time::Instant;

use remuda_protocol::outcome::Outcome;
use remuda_store::{Entry, NextCall, Registration, Store, TaskResult, Want};
use support::{PrivateRedis, group, job};

async fn info(redis: &mut redis::aio::MultiplexedConnection, field: &str) -> f64 {
    let info: String = redis::cmd("INFO").arg("everything").query_async(redis).await.unwrap();
    info.lines().find_map(|l| l.strip_prefix(field)?.strip_prefix(':')).unwrap().trim().parse().unwrap()
}

async fn cpu_us(redis: &mut redis::aio::MultiplexedConnection) -> f64 {
    (info(redis, "used_cpu_user").await + info(redis, "used_cpu_sys").await) * 1e6
}

async fn farm_bytes(redis: &mut redis::aio::MultiplexedConnection) -> u64 {
    let keys: Vec<String> = redis::cmd("KEYS").arg("*").query_async(redis).await.unwrap();
    let mut sum = 0;
    for key in keys {
        let bytes: u64 =
            redis::cmd("MEMORY").arg("USAGE").arg(key).arg("SAMPLES").arg(0).query_async(redis).await.unwrap();
        sum += bytes;
    }
    sum
}

async fn fill(store: &Store, tasks: u32, run: u32) {
    let mut first = 0;
    while first < tasks {
        let n = 200.min(tasks - first);
        let ids: Vec<String> = (first..first + n)
            .map(|i| format!("tests/unit/test_module.py::TestSomething::test_with_a_name[{i:07}]"))
            .collect();
        let runs: Vec<Entry> = (0..n.div_ceil(run))
            .map(|r| Entry {
                lane: 0,
                first: first + r * run,
                count: run.min(n - r * run),
                us: -1,
                cost: -1,
                whole: false,
                more: false,
            })
            .collect();
        store.add("job", 0, 0, first, &ids, &runs).await.unwrap();
        first += n;
    }
    store.seal("job", 0, 0, tasks).await.unwrap();
    store.seal_job("job").await.unwrap();
}

/// Takes and passes tasks until there are none; the number of calls.
async fn work(store: Store, worker: &str, batch: u32) -> u64 {
    let who =
        Registration { worker: worker.into(), lease_ms: 30_000, slots: 1, about: "{}".into(), ..Default::default() };
    store.resync(&who).await.unwrap();
    let (mut results, mut calls, mut dry) = (Vec::new(), 0, 0);
    loop {
        let want = Want { slot: 0, max: batch, budget_us: 10_000_000, warm: Some(("job".to_owned(), 0)), with_ms: 0 };
        let call = NextCall {
            worker: worker.into(),
            nonce: calls.to_string(),
            lease_ms: 30_000,
            results: std::mem::take(&mut results),
            wants: vec![want],
            loaded: vec![],
        };
        let reply = store.next(&call).await.unwrap();
        calls += 1;
        dry = if reply.claims.is_empty() { dry + 1 } else { 0 };
        if dry > 2 {
            return calls;
        }
        for claim in reply.claims {
            results.extend((0..claim.ids.len()).map(|i| TaskResult {
                fence: claim.fence,
                job: claim.job.clone(),
                group: claim.group,
                task: claim.first + u32::try_from(i).unwrap(),
                outcome: Some(Outcome::Passed),
                us: 50,
                wide_us: 0,
                detail: vec![],
            }));
        }
    }
}

async fn measure(tasks: u32, batch: u32, run: u32) {
    let redis = PrivateRedis::start(&[]);
    let (one, two) = (redis.store().await, redis.store().await);
    let mut raw = redis.raw().await;
    let empty = farm_bytes(&mut raw).await;
    one.open(&job("job", vec![group("a", &[])]), "me", 0).await.unwrap();
    let before = cpu_us(&mut raw).await;
    fill(&one, tasks, run).await;
    let adding = (cpu_us(&mut raw).await - before) / f64::from(tasks);
    let bytes = (farm_bytes(&mut raw).await - empty) as f64 / f64::from(tasks);
    let (cpu, commands, started) =
        (cpu_us(&mut raw).await, info(&mut raw, "total_commands_processed").await, Instant::now());
    let (a, b) = tokio::join!(work(one.clone(), "w1", batch), work(two, "w2", batch));
    let seconds = started.elapsed().as_secs_f64();
    let calls = a + b;
    let cpu = (cpu_us(&mut raw).await - cpu) / f64::from(tasks);
    let inner = (info(&mut raw, "total_commands_processed").await - commands) / f64::from(tasks);
    assert_eq!(one.snapshot("job").await.unwrap().groups[0].ended[0], tasks);
    println!("{tasks} tasks in runs of {run}, batch {batch}:");
    println!("  {:.0} tasks/s, {cpu:.1} us of Redis CPU a task ({adding:.1} to add it)", f64::from(tasks) / seconds);
    println!("  {:.4} calls sent a task, {inner:.2} commands inside them", calls as f64 / f64::from(tasks));
    println!("  {bytes:.0} bytes a queued task with an id of 67 bytes");
}

#[tokio::main]
async fn main() {
    let mut args = std::env::args().skip(1).map(|a| a.parse::<u32>().unwrap());
    let tasks = args.next().unwrap_or(100_000);
    let batch = args.next().unwrap_or(100);
    for (batch, run) in [(batch, 50), (batch, 1), (1, 50)] {
        measure(tasks, batch, run).await;
    }
}
