//! Crashes on real processes. Each ends with every task in exactly one accepted result, no physical overlap (each
//! task holds an flock on its own marker), and no process, file or key left. `REMUDA_SOAK=1` makes them large.
#![allow(missing_docs, clippy::unwrap_used)]

use std::time::Duration;

use nix::sys::signal::Signal;
use remuda_e2e::fleet::Fleet;
use remuda_e2e::processes::{lines, marked, until};
use remuda_protocol::spec::{JobSpec, LaneSpec};
use remuda_store::JobSnapshot;

const AOF: &[&str] = &["--appendonly", "yes", "--appendfsync", "everysec"];

fn soak() -> bool {
    std::env::var_os("REMUDA_SOAK").is_some()
}

fn tasks(small: u32) -> u32 {
    if soak() { small * 10 } else { small }
}

/// Holds its marker while it runs; a second holder would be an overlap.
fn guarded(fleet: &Fleet, id: &str, body: &str) -> JobSpec {
    let script =
        format!("#!/bin/sh\nexec 9>>\"marker-$1\"\nflock -n 9 || echo $1 >> overlap\n{body}\necho $1 >> done\n");
    std::fs::write(fleet.path().join("task.sh"), script).unwrap();
    fleet.commands(id, "sh task.sh {}")
}

/// What must hold at the end of every crash test.
async fn all_is_well(fleet: &mut Fleet, job: &str, end: &JobSnapshot, n: u32, survivors: &[u32]) {
    let group = &end.groups[0];
    assert_eq!((group.added, group.ready, group.running), (n, 0, 0));
    assert_eq!(group.ended.iter().sum::<u32>(), n, "one result for each: {group:?}");
    assert_eq!(lines(&fleet.path().join("overlap")), Vec::<String>::new(), "nothing ran twice at once");
    for worker in survivors {
        fleet.signal(*worker, Signal::SIGTERM);
        assert!(fleet.reap(*worker).success(), "{}", fleet.log());
    }
    let mark = format!("E2E_MARK={}", fleet.path().display());
    until("every process to end", 10, async || marked(&mark).is_empty()).await;
    while fleet.store.gc(200, Some(job)).await.unwrap().1 {}
    let mut raw = fleet.redis.raw().await;
    until("dead workers to leave the books", 60, async || {
        let _ = fleet.store.reap(100).await;
        let keys: Vec<String> = redis::cmd("KEYS").arg("*").query_async(&mut raw).await.unwrap_or_default();
        keys == ["remuda:{test}:meta"]
    })
    .await;
}

async fn progress(fleet: &Fleet, job: &str, at_least: u32) {
    until(&format!("{at_least} results"), 60, async || {
        fleet.store.snapshot(job).await.is_ok_and(|s| s.groups[0].ended[0] >= at_least)
    })
    .await;
}

#[tokio::test]
async fn a_worker_killed_with_9_loses_nothing() {
    let mut fleet = Fleet::start(&[]).await;
    let n = tasks(40);
    let victim = fleet.worker(2, &["--lease", "3"]);
    let other = fleet.worker(2, &["--lease", "3"]);
    fleet.submit(&guarded(&fleet, "j1", "sleep 0.1"), &[Fleet::items(n)]).await;
    progress(&fleet, "j1", n / 4).await;
    fleet.signal(victim, Signal::SIGKILL);
    fleet.reap(victim);
    let end = fleet.end_of("j1", 120).await;
    assert_eq!((end.state.as_str(), end.groups[0].ended[0]), ("passed", n));
    all_is_well(&mut fleet, "j1", &end, n, &[other]).await;
}

#[tokio::test]
async fn a_worker_stopped_past_its_lease_has_nothing_running_and_reports_nothing() {
    let mut fleet = Fleet::start(&[]).await;
    let n = tasks(16);
    let victim = fleet.worker(1, &["--lease", "3"]);
    let other = fleet.worker(1, &["--lease", "3"]);
    fleet.submit(&guarded(&fleet, "j1", "sleep 0.3"), &[Fleet::items(n)]).await;
    progress(&fleet, "j1", n / 4).await;
    fleet.signal(victim, Signal::SIGSTOP);
    let end = fleet.end_of("j1", 120).await;
    fleet.signal(victim, Signal::SIGCONT);
    assert_eq!((end.state.as_str(), end.groups[0].ended[0]), ("passed", n));
    all_is_well(&mut fleet, "j1", &end, n, &[victim, other]).await;
}

#[tokio::test]
async fn redis_killed_and_restarted_twice_loses_nothing() {
    let mut fleet = Fleet::start(AOF).await;
    let n = tasks(60);
    let workers = [fleet.worker(2, &[]), fleet.worker(2, &[])];
    fleet.submit(&guarded(&fleet, "j1", "sleep 0.1"), &[Fleet::items(n)]).await;
    for part in 1..=2 {
        progress(&fleet, "j1", n * part / 4).await;
        fleet.redis.kill();
        fleet.redis.restart();
    }
    let end = fleet.end_of("j1", 120).await;
    assert_eq!((end.state.as_str(), end.groups[0].ended[0]), ("passed", n));
    all_is_well(&mut fleet, "j1", &end, n, &workers).await;
}

#[tokio::test]
async fn every_connection_killed_again_and_again_loses_nothing() {
    let mut fleet = Fleet::start(&[]).await;
    let n = tasks(60);
    let workers = [fleet.worker(2, &[]), fleet.worker(2, &[])];
    fleet.submit(&guarded(&fleet, "j1", "sleep 0.1"), &[Fleet::items(n)]).await;
    let url = fleet.redis.url();
    let killer = tokio::spawn(async move {
        let client = redis::Client::open(url).unwrap();
        loop {
            tokio::time::sleep(Duration::from_millis(200)).await;
            let Ok(mut raw) = client.get_multiplexed_async_connection().await else { continue };
            for kind in ["normal", "pubsub"] {
                let _: Result<(), _> = redis::cmd("CLIENT")
                    .arg("KILL")
                    .arg("TYPE")
                    .arg(kind)
                    .arg("SKIPME")
                    .arg("yes")
                    .query_async(&mut raw)
                    .await;
            }
        }
    });
    let end = fleet.end_of("j1", 120).await;
    killer.abort();
    assert_eq!((end.state.as_str(), end.groups[0].ended[0]), ("passed", n));
    all_is_well(&mut fleet, "j1", &end, n, &workers).await;
}

#[tokio::test]
async fn an_outage_shorter_than_the_lease_kills_nothing_and_keeps_the_lock() {
    let mut fleet = Fleet::start(AOF).await;
    let (lease, outage) = if soak() { ("30", 15) } else { ("9", 4) };
    let worker = fleet.worker(1, &["--lease", lease]);
    let mut spec = guarded(
        &fleet,
        "j1",
        &format!("echo begin $REMUDA_POOL_BOARD >> seen; sleep {}; echo end >> seen", outage + 3),
    );
    spec.pools.insert("board".into(), vec!["b1".into()]);
    spec.groups[0].lanes[0] = LaneSpec { locks: [("board".to_owned(), 1)].into(), ..LaneSpec::default() };
    fleet.submit(&spec, &[Fleet::items(1)]).await;
    let seen = fleet.path().join("seen");
    until("the task to begin", 20, async || lines(&seen).len() == 1).await;
    // the claim must be on disk before the server dies: everysec may lose a second
    tokio::time::sleep(Duration::from_millis(1500)).await;
    fleet.redis.kill();
    tokio::time::sleep(Duration::from_secs(outage)).await;
    fleet.redis.restart();
    let end = fleet.end_of("j1", 60).await;
    assert_eq!(end.state, "passed");
    assert_eq!(lines(&seen), ["begin b1", "end"], "one attempt, never killed");
    all_is_well(&mut fleet, "j1", &end, 1, &[worker]).await;
}

#[tokio::test]
async fn a_task_that_kills_its_worker_each_time_is_lost_alone() {
    let mut fleet = Fleet::start(&[]).await;
    let n = tasks(12);
    let body = "[ $1 = item-3 ] && kill -9 $(cat worker.pid); sleep 0.05";
    let spec = guarded(&fleet, "j1", body);
    fleet.submit(&spec, &[Fleet::items(n)]).await;
    let mut worker = 0;
    for _ in 0..8 {
        worker = fleet.worker(2, &["--lease", "3"]);
        std::fs::write(fleet.path().join("worker.pid"), worker.to_string()).unwrap();
        let mut over = false;
        until("the worker to die or the job to end", 60, async || {
            let _ = fleet.store.reap(100).await;
            over = fleet.store.snapshot("j1").await.is_ok_and(|s| s.state == "incomplete");
            over || !remuda_e2e::processes::lives(worker)
        })
        .await;
        if over {
            break;
        }
        fleet.reap(worker);
    }
    let end = fleet.end_of("j1", 60).await;
    assert_eq!(
        (end.state.as_str(), end.groups[0].ended[0], end.groups[0].ended[4]),
        ("incomplete", n - 1, 1),
        "{}",
        fleet.log()
    );
    let lost = fleet.store.records("j1", 0, 3, 1).await.unwrap().remove(0);
    assert_eq!(lost.outcome, Some(remuda_protocol::outcome::Outcome::Lost));
    all_is_well(&mut fleet, "j1", &end, n, &[worker]).await;
}

#[tokio::test]
async fn a_flood_of_output_neither_blocks_nor_fills_memory() {
    let mut fleet = Fleet::start(&[]).await;
    let bytes: u64 = if soak() { 1 << 30 } else { 128 << 20 };
    let worker = fleet.worker(1, &[]);
    let spec = guarded(&fleet, "j1", &format!("echo first; head -c {bytes} /dev/zero; echo last"));
    fleet.submit(&spec, &[Fleet::items(1)]).await;
    let mark = format!("E2E_MARK={}", fleet.path().display());
    let mut most = 0;
    until("the flood to end", 120, async || {
        for (pid, command) in marked(&mark) {
            if command.contains("remuda") {
                most = most.max(resident_kib(pid));
            }
        }
        fleet.store.snapshot("j1").await.is_ok_and(|s| s.state == "passed")
    })
    .await;
    assert!(most < 64 << 10, "a supervising process held {most} KiB");
    let record = fleet.store.records("j1", 0, 0, 1).await.unwrap().remove(0);
    let detail = fleet.store.details("j1", &[(0, 0, record.fence)]).await.unwrap().remove(0).unwrap();
    let text = &detail.sections[0].1;
    assert!(
        text.starts_with("first\n") && text.ends_with("last\n") && detail.dropped_bytes > bytes / 2,
        "{} dropped",
        detail.dropped_bytes
    );
    let end = fleet.end_of("j1", 10).await;
    all_is_well(&mut fleet, "j1", &end, 1, &[worker]).await;
}

fn resident_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    status.lines().find_map(|l| l.strip_prefix("VmRSS:")?.trim().split(' ').next()?.parse().ok()).unwrap_or(0)
}
