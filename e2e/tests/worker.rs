//! What a worker owes to the people who run it: drain, status, live output, refusals.
#![allow(missing_docs, clippy::unwrap_used)]

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use remuda_e2e::fleet::Fleet;
use remuda_e2e::processes::{lines, marked, until};
use remuda_store::Message;

#[tokio::test]
async fn sigterm_lets_what_runs_finish_and_gives_the_rest_back() {
    let mut fleet = Fleet::start(&[]).await;
    let first = fleet.worker(1, &[]);
    fleet
        .submit(
            &fleet.commands("j1", "echo {} >> begun; while [ ! -e go ]; do sleep 0.02; done; echo {} >> ended"),
            &[Fleet::items(4)],
        )
        .await;
    let begun = fleet.path().join("begun");
    until("the first task to begin", 10, async || lines(&begun).len() == 1).await;
    fleet.signal(first, Signal::SIGTERM);
    until("everything else to be given back", 10, async || {
        fleet.store.snapshot("j1").await.unwrap().groups[0].ready == 3
    })
    .await;
    until("nobody to count on it", 10, async || fleet.store.workers().await.unwrap()[0].drain).await;
    std::fs::write(fleet.path().join("go"), "").unwrap();
    assert!(fleet.reap(first).success());
    let half = fleet.store.snapshot("j1").await.unwrap();
    assert_eq!((half.groups[0].ended[0], half.groups[0].ready, half.groups[0].running), (1, 3, 0));
    fleet.worker(1, &[]);
    assert_eq!(fleet.end_of("j1", 20).await.state, "passed");
    assert_eq!(lines(&begun).len(), 4, "nothing was begun twice");
}

/// More slots than one call may ask for: each must find out once that there is nothing, and none twice.
#[tokio::test]
async fn a_worker_with_many_slots_is_quiet_when_there_is_nothing_to_do() {
    let mut fleet = Fleet::start(&[]).await;
    fleet.worker(150, &[]);
    fleet.submit(&fleet.commands("j1", "true"), &[Fleet::items(150)]).await;
    assert_eq!(fleet.end_of("j1", 20).await.state, "passed");
    let mut raw = fleet.redis.raw().await;
    let mut calls = async || {
        let said: String = redis::cmd("INFO").arg("commandstats").query_async(&mut raw).await.unwrap();
        let line = said.lines().find_map(|l| l.strip_prefix("cmdstat_evalsha:calls=")).unwrap();
        line.split(',').next().unwrap().parse::<u32>().unwrap()
    };
    let before = calls().await;
    tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    let more = calls().await - before;
    assert!(more < 20, "{more} calls in half a second");
}

#[tokio::test]
async fn a_second_sigterm_kills_what_runs_and_gives_it_back() {
    let mut fleet = Fleet::start(&[]).await;
    let worker = fleet.worker(1, &[]);
    fleet.submit(&fleet.commands("j1", "echo {} >> begun; sleep 600"), &[Fleet::items(1)]).await;
    until("the task to begin", 10, async || lines(&fleet.path().join("begun")).len() == 1).await;
    fleet.signal(worker, Signal::SIGTERM);
    until("the drain to begin", 10, async || fleet.log().contains("draining")).await;
    fleet.signal(worker, Signal::SIGTERM);
    assert!(fleet.reap(worker).success());
    let snapshot = fleet.store.snapshot("j1").await.unwrap();
    assert_eq!((snapshot.groups[0].ready, snapshot.groups[0].running), (1, 0));
    let mark = format!("E2E_MARK={}", fleet.path().display());
    until("every process to end", 10, async || marked(&mark).is_empty()).await;
}

#[tokio::test]
async fn a_redis_that_is_gone_keeps_no_worker_from_leaving() {
    let mut fleet = Fleet::start(&[]).await;
    let busy = fleet.worker(1, &[]);
    fleet.submit(&fleet.commands("j1", "echo {} >> begun; sleep 600"), &[Fleet::items(1)]).await;
    until("the task to begin", 10, async || lines(&fleet.path().join("begun")).len() == 1).await;
    let idle = fleet.worker(1, &[]); // not before the task is another's
    until("the idle one to listen", 10, async || {
        fleet.store.call_for_beats().await.unwrap();
        let workers = fleet.store.workers().await.unwrap();
        workers.len() == 2 && workers.iter().all(|worker| worker.seen_ms > 0)
    })
    .await;
    fleet.redis.kill();
    let begun = Instant::now();
    for worker in [idle, busy] {
        fleet.signal(worker, Signal::SIGTERM);
    }
    until("both to drain", 10, async || fleet.log().matches("draining").count() == 2).await;
    fleet.signal(busy, Signal::SIGTERM);
    assert!(fleet.reap(idle).success());
    assert!(fleet.reap(busy).success());
    assert!(begun.elapsed() < Duration::from_secs(40), "{:?}", begun.elapsed());
    let mark = format!("E2E_MARK={}", fleet.path().display());
    until("every process to end", 10, async || marked(&mark).is_empty()).await;
}

#[tokio::test]
async fn sigusr1_tells_what_runs_since_when_and_its_last_lines() {
    let mut fleet = Fleet::start(&[]).await;
    let worker = fleet.worker(2, &[]);
    fleet.submit(&fleet.commands("j1", "echo said before; echo {} >> begun; sleep 600"), &[Fleet::items(1)]).await;
    until("the task to begin", 10, async || lines(&fleet.path().join("begun")).len() == 1).await;
    fleet.signal(worker, Signal::SIGUSR1);
    until("the status", 10, async || fleet.log().contains("| said before")).await;
    let log = fleet.log();
    assert!(log.contains("item-0 for ") && log.contains(": idle"), "{log}");
}

#[tokio::test]
async fn output_is_live_while_somebody_looks() {
    let mut fleet = Fleet::start(&[]).await;
    fleet.worker(1, &["--lease", "3"]);
    fleet
        .submit(
            &fleet.commands("j1", "echo {} >> begun; while [ ! -e go ]; do echo tick; sleep 0.05; done"),
            &[Fleet::items(1)],
        )
        .await;
    let mut watch = fleet.store.watch("j1", true).await.unwrap();
    fleet.store.adopt("j1", "tester", 0, 60_000, true).await.unwrap();
    let heard = async {
        loop {
            match watch.next().await {
                Some(Message::Output { task, stream, bytes, .. }) => {
                    return (task, stream, String::from_utf8(bytes).unwrap());
                }
                Some(_) => {}
                None => panic!("the subscription ended"),
            }
        }
    };
    let (task, stream, text) = tokio::time::timeout(std::time::Duration::from_secs(20), heard).await.unwrap();
    assert_eq!((task, stream.as_str()), (0, "o"));
    assert!(text.contains("tick"), "{text}");
    std::fs::write(fleet.path().join("go"), "").unwrap();
    assert_eq!(fleet.end_of("j1", 20).await.state, "passed");
}

#[tokio::test]
async fn a_worker_that_lacks_the_tree_refuses_by_host_and_path() {
    let mut fleet = Fleet::start(&[]).await;
    fleet.worker(1, &[]);
    let mut spec = fleet.commands("j1", "true");
    spec.tree.path = "/no/such/tree".into();
    fleet.submit(&spec, &[Fleet::items(1)]).await;
    assert_eq!(fleet.end_of("j1", 20).await.state, "failed");
    assert!(refusal(&fleet).await.contains("does not have the tree /no/such/tree"));
}

#[tokio::test]
async fn a_worker_of_another_protocol_version_refuses() {
    let mut fleet = Fleet::start(&[]).await;
    fleet.worker(1, &[]);
    let mut spec = fleet.commands("j1", "true");
    spec.protocol = 99;
    fleet.submit(&spec, &[Fleet::items(1)]).await;
    assert_eq!(fleet.end_of("j1", 20).await.state, "failed");
    assert!(refusal(&fleet).await.contains("the job speaks protocol 99, this program speaks 1"));
}

async fn refusal(fleet: &Fleet) -> String {
    let record = fleet.store.records("j1", 0, 0, 1).await.unwrap().remove(0);
    fleet.store.details("j1", &[(0, 0, record.fence)]).await.unwrap().remove(0).unwrap().message
}

#[tokio::test]
async fn a_restarted_daemon_returns_its_predecessors_work_at_once() {
    let mut fleet = Fleet::start(&[]).await;
    let state = fleet.path().join("state").to_string_lossy().into_owned();
    // without --embedded the state folder counts; the lease is far longer than this test
    let first = fleet.lab_worker(1, &["--state", &state, "--lease", "600"]);
    fleet.submit(&fleet.commands("j1", "echo {} >> begun; [ -e go ] || sleep 600"), &[Fleet::items(1)]).await;
    until("the task to begin", 10, async || lines(&fleet.path().join("begun")).len() == 1).await;
    fleet.signal(first, Signal::SIGKILL);
    fleet.reap(first);
    std::fs::write(fleet.path().join("go"), "").unwrap();
    fleet.lab_worker(1, &["--state", &state, "--lease", "600"]);
    assert_eq!(fleet.end_of("j1", 20).await.state, "passed");
}
