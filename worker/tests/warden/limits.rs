//! Timeouts, deadlines, and the kill that asks first.

use std::time::Duration;

use remuda_worker::warden::{KeeperEvent, Reason, boottime_now_ms};

use crate::support::{Witness, exited, keeper, next, sh, started, warden, within};

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_timeout_is_term_first() {
    let (_warden, mut keeper) = warden().await;
    let mut unit = sh(1, "trap 'echo bye; exit 9' TERM; echo up; while :; do sleep 1000 & wait; done");
    unit.timeout = Some(Duration::from_millis(1500));
    unit.grace = Duration::from_secs(50);
    keeper.run(unit).unwrap();
    let exited = exited(&mut keeper).await;
    assert_eq!((exited.reason, exited.code), (Reason::Timeout, Some(9)));
    assert_eq!(exited.output, b"up\nbye\n");
    assert!(exited.wall_us >= 1_500_000, "{}", exited.wall_us);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_timeout_is_kill_after_the_grace() {
    let (_warden, mut keeper) = warden().await;
    let mut witness = Witness::new();
    let mut unit = sh(1, &witness.script("trap '' TERM; sleep 1000 & sleep 1000"));
    unit.timeout = Some(Duration::from_millis(1500));
    unit.grace = Duration::from_millis(100);
    keeper.run(unit).unwrap();
    let exited = exited(&mut keeper).await;
    witness.assert_dead();
    assert_eq!((exited.reason, exited.signal), (Reason::Timeout, Some(9)));
    assert!(exited.wall_us >= 1_600_000, "{}", exited.wall_us);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn kill_asks_a_stopped_unit_too() {
    let (_warden, mut keeper) = warden().await;
    let mut witness = Witness::new();
    let mut unit = sh(1, &witness.script("trap 'exit 8' TERM; echo ready >&9; kill -STOP $$"));
    unit.grace = Duration::from_secs(50);
    keeper.run(unit).unwrap();
    witness.ready(1);
    keeper.kill(1, false).unwrap();
    let exited = exited(&mut keeper).await;
    assert_eq!((exited.reason, exited.code), (Reason::Killed, Some(8)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn kill_now_cuts_the_grace_short() {
    let (_warden, mut keeper) = warden().await;
    let mut witness = Witness::new();
    let body = "trap 'echo term >&9' TERM; echo ready >&9; while :; do sleep 1000 & wait; done";
    let mut unit = sh(1, &witness.script(body));
    unit.grace = Duration::from_secs(1000);
    keeper.run(unit).unwrap();
    witness.ready(1);
    keeper.kill(1, false).unwrap();
    witness.ready(2);
    keeper.kill(1, true).unwrap();
    let exited = exited(&mut keeper).await;
    assert_eq!((exited.reason, exited.signal), (Reason::Killed, Some(9)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_passed_deadline_kills_the_unit_and_drops_the_queue() {
    let (warden, mut keeper) = warden().await;
    let deadlines = warden.deadlines();
    deadlines.set(0, boottime_now_ms() + 2000);
    for id in 1..=3 {
        keeper.run(sh(id, "exec sleep 1000")).unwrap();
    }
    started(&mut keeper).await;
    let ended = exited(&mut keeper).await;
    assert_eq!((ended.id, ended.reason, ended.signal), (1, Reason::Lease, Some(9)));
    assert_eq!(next(&mut keeper).await, KeeperEvent::Dropped { ids: vec![2, 3], lease: true });
    // Nothing starts until the deadline has been moved.
    keeper.run(sh(4, "exit 0")).unwrap();
    assert_eq!(next(&mut keeper).await, KeeperEvent::Dropped { ids: vec![4], lease: true });
    deadlines.set(0, 0);
    keeper.run(sh(5, "exit 0")).unwrap();
    assert_eq!(exited(&mut keeper).await.code, Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_deadline_set_later_counts_too_and_one_that_moves_on_does_not_kill() {
    let (warden, mut keeper) = warden().await;
    let mut witness = Witness::new();
    let deadlines = warden.deadlines();
    keeper.run(sh(1, &witness.script("echo ready >&9; exec sleep 1000"))).unwrap();
    witness.ready(1);
    let begin = boottime_now_ms();
    for _ in 0..10 {
        deadlines.set(0, boottime_now_ms() + 1500);
        let early = tokio::time::timeout(Duration::from_millis(200), async {
            loop {
                if let KeeperEvent::Exited(exited) = next(&mut keeper).await {
                    return exited;
                }
            }
        });
        assert!(early.await.is_err());
    }
    let exited = within(exited(&mut keeper)).await;
    assert_eq!(exited.reason, Reason::Lease);
    assert!(boottime_now_ms() - begin >= 2000);
}

/// How often a process has gone to sleep.
fn sleeps(pid: i32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("a status");
    let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
    line.expect("a line").trim().parse().expect("a number")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn an_idle_keeper_sleeps_and_a_waiting_one_nearly() {
    let (warden, mut busy) = warden().await;
    let mut idle = keeper(&warden, 1).await;
    idle.run(sh(1, "true")).unwrap();
    exited(&mut idle).await;
    warden.deadlines().set(0, boottime_now_ms() + 50_000);
    warden.deadlines().set(1, 1);
    busy.run(sh(1, "sleep 2")).unwrap();
    started(&mut busy).await;
    // A keeper that has just reported may not have gone back to sleep yet.
    let before = (sleeps(idle.pid()), sleeps(warden.pid()), sleeps(busy.pid()));
    exited(&mut busy).await;
    let after = (sleeps(idle.pid()), sleeps(warden.pid()), sleeps(busy.pid()));
    assert!(after.0 - before.0 <= 1 && after.1 - before.1 <= 1, "{before:?} {after:?}");
    assert!(after.2 - before.2 <= 8, "{before:?} {after:?}");
}
