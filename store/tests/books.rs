//! The farm's books: registrations, places, pools, leases, the clock.
#![allow(missing_docs, clippy::unwrap_used)]

mod support;

use remuda_protocol::outcome::Outcome;
use remuda_store::{Beat, NextCall, Opened, Registration, Served, Service, Store, StoreError, TaskResult};
use support::{PrivateRedis, START_MS, fill, group, job, join, next, result, want};

async fn keys(redis: &PrivateRedis) -> Vec<String> {
    let mut keys: Vec<String> = redis::cmd("KEYS").arg("*").query_async(&mut redis.raw().await).await.unwrap();
    keys.retain(|k| !k.ends_with(":clock"));
    keys.sort();
    keys
}

async fn hash(redis: &PrivateRedis, key: &str) -> std::collections::BTreeMap<String, String> {
    redis::cmd("HGETALL").arg(format!("remuda:{{test}}:{key}")).query_async(&mut redis.raw().await).await.unwrap()
}

async fn open(store: &Store, id: &str, tasks: u32) {
    store.open(&job(id, vec![group("a", &[])]), "me", 0).await.unwrap();
    fill(store, id, 0, 0, tasks).await;
    store.seal_job(id).await.unwrap();
}

async fn finish(store: &Store, id: &str) {
    store.cancel(id, "user", None).await.unwrap();
}

#[tokio::test]
async fn leaving_with_claims_in_hand_gives_them_back() {
    let redis = PrivateRedis::start(&[]);
    let store = redis.store().await;
    open(&store, "j1", 1).await;
    join(&store, "w1", 1, "").await;
    let claim = next(&store, "w1", vec![], vec![want(0)]).await.claims.remove(0);
    let bye = Registration {
        worker: "w1".into(),
        lease_ms: 30_000,
        leave: true,
        held: vec![claim.fence],
        ..Registration::default()
    };
    assert_eq!(store.resync(&bye).await.unwrap().forget, [claim.fence]);
    assert_eq!(store.snapshot("j1").await.unwrap().groups[0].ready, 1);
    finish(&store, "j1").await;
    while store.gc(200, Some("j1")).await.unwrap().1 {}
    assert_eq!(keys(&redis).await, ["remuda:{test}:meta"]);
}

#[tokio::test]
async fn the_last_of_many_that_a_predecessor_held_is_not_blamed() {
    let redis = PrivateRedis::start(&[]);
    let store = redis.store().await;
    open(&store, "j1", 500).await;
    join(&store, "w1", 2, "").await;
    let first = next(&store, "w1", vec![], vec![want(0)]).await.claims.remove(0);
    let done: Vec<TaskResult> = vec![result(&first, 0, Outcome::Passed)];
    // one task's time is known: a claim of many, and one more than a call gives back
    let one = remuda_store::Want { max: 1, ..want(1) };
    let held = next(&store, "w1", done, vec![want(0), one]).await.claims;
    let tasks: usize = held.iter().map(|c| c.ids.len()).sum();
    assert_eq!(tasks, 101);
    let who = Registration {
        worker: "w2".into(),
        lease_ms: 30_000,
        slots: 2,
        about: "{}".into(),
        predecessor: Some("w1".into()),
        ..Registration::default()
    };
    store.resync(&who).await.unwrap();
    let records = store.records("j1", 0, 0, 500).await.unwrap();
    assert!(records.iter().all(|r| r.losses == 0), "{records:?}");
    assert_eq!(records.iter().filter(|r| r.company == 1).count(), tasks);
}

#[tokio::test]
async fn a_place_is_free_again_when_its_slot_works_elsewhere() {
    let redis = PrivateRedis::start(&[]);
    let store = redis.store().await;
    open(&store, "j1", 1).await;
    join(&store, "w1", 1, "").await;
    let claim = next(&store, "w1", vec![], vec![want(0)]).await.claims.remove(0);
    open(&store, "j2", 1).await;
    next(&store, "w1", vec![TaskResult { outcome: None, ..result(&claim, 0, Outcome::Passed) }], vec![]).await;
    join(&store, "w0", 1, "").await;
    next(&store, "w0", vec![], vec![want(0)]).await; // takes j1's only task
    let other = next(&store, "w1", vec![], vec![want(0)]).await.claims.remove(0);
    assert_eq!(other.job, "j2");
    assert!(!hash(&redis, "place:j1").await.contains_key("w1:0"));
}

#[tokio::test]
async fn pools_of_ended_jobs_may_be_defined_otherwise() {
    let redis = PrivateRedis::start(&[]);
    let store = redis.store().await;
    let with = |id: &str, items: &[&str]| {
        let mut locked = group("a", &[]);
        locked.lanes[0].locks.insert("board".into(), 2);
        let mut spec = job(id, vec![locked]);
        spec.pools.insert("board".into(), items.iter().map(|i| (*i).to_owned()).collect());
        spec
    };
    store.open(&with("j1", &["b1", "b2"]), "me", 0).await.unwrap();
    assert_eq!(store.open(&with("j2", &["b1", "b2", "b3"]), "me", 0).await.unwrap(), Opened::Pool("board".into()));
    finish(&store, "j1").await;
    let odd = ["usb|1;2", "", "50%"];
    assert_eq!(store.open(&with("j2", &odd), "me", 0).await.unwrap(), Opened::New);
    fill(&store, "j2", 0, 0, 2).await;
    join(&store, "w1", 1, "").await;
    let claim = next(&store, "w1", vec![], vec![want(0)]).await.claims.remove(0);
    assert_eq!(claim.locks, [("board".to_owned(), vec![odd[0].to_owned(), odd[1].to_owned()])]);
    let claim = next(&store, "w1", vec![result(&claim, 0, Outcome::Passed)], vec![want(0)]).await.claims.remove(0);
    assert_eq!(claim.locks[0].1, [odd[2], odd[0]]);
}

#[tokio::test]
async fn a_clock_set_back_does_not_keep_the_dead_alive() {
    let redis = PrivateRedis::start(&[]);
    let store = redis.clocked().await;
    open(&store, "j1", 1).await;
    join(&store, "w1", 1, "").await;
    next(&store, "w1", vec![], vec![want(0)]).await;
    let back = START_MS - 3_600_000;
    for second in 0..20 {
        redis.set_clock(back + second * 4000).await;
        store.reap(100).await.unwrap();
    }
    let group = &store.snapshot("j1").await.unwrap().groups[0];
    assert_eq!((group.ready, group.running), (1, 0), "80 s later the lease has ended, not an hour later");
}

#[tokio::test]
async fn a_correction_of_the_clock_is_no_jump() {
    let redis = PrivateRedis::start(&[]);
    let store = redis.clocked().await;
    store.reap(100).await.unwrap();
    redis.set_clock(START_MS - 20).await;
    store.reap(100).await.unwrap();
    assert_eq!(hash(&redis, "meta").await.get("hold_until"), None);
}

#[tokio::test]
async fn resync_never_shortens_a_lease() {
    let redis = PrivateRedis::start(&[]);
    let store = redis.clocked().await;
    open(&store, "j1", 1).await;
    join(&store, "w1", 1, "").await;
    let claim = next(&store, "w1", vec![], vec![want(0)]).await.claims.remove(0);
    let beat = Beat { worker: "w1".into(), lease_ms: 30_000, running: "{}".into(), held: vec![(claim.fence, 600_000)] };
    store.beat(&beat).await.unwrap();
    let who = Registration {
        worker: "w1".into(),
        lease_ms: 30_000,
        slots: 1,
        held: vec![claim.fence],
        ..Registration::default()
    };
    store.resync(&who).await.unwrap();
    let mut raw = redis.raw().await;
    let until: i64 =
        redis::cmd("ZSCORE").arg("remuda:{test}:lease").arg(claim.fence).query_async(&mut raw).await.unwrap();
    assert_eq!(until, START_MS + 30_000 + 60_000);
}

#[tokio::test]
async fn too_much_in_one_call_is_an_error_of_its_own() {
    let redis = PrivateRedis::start(&[]);
    let store = redis.store().await;
    join(&store, "w1", 1, "").await;
    let call =
        NextCall { worker: "w1".into(), lease_ms: 30_000, wants: (0..65).map(want).collect(), ..NextCall::default() };
    assert!(matches!(store.next(&call).await, Err(StoreError::Script { .. })));
}

#[tokio::test]
async fn who_got_less_than_there_was_is_told_to_come_again_at_once() {
    let redis = PrivateRedis::start(&[]);
    let store = redis.store().await;
    open(&store, "j1", 700).await;
    join(&store, "w1", 2, "").await;
    let first = next(&store, "w1", vec![], vec![want(0)]).await.claims.remove(0);
    let held = next(&store, "w1", vec![result(&first, 0, Outcome::Passed)], vec![want(0), want(1)]).await.claims;
    let mut results: Vec<TaskResult> = held
        .iter()
        .flat_map(|c| (0..u32::try_from(c.ids.len()).unwrap()).map(|i| result(c, c.first + i, Outcome::Passed)))
        .collect();
    results.push(results[0].clone());
    assert_eq!(results.len(), 200);
    let reply = next(&store, "w1", results, vec![want(0)]).await;
    assert!(reply.claims.is_empty());
    assert_eq!(reply.wait_ms, 0);
}

#[tokio::test]
async fn who_is_leaving_cannot_be_kept() {
    let redis = PrivateRedis::start(&[]);
    let store = redis.store().await;
    join(&store, "w1", 1, "").await;
    assert_eq!(store.drain("nobody", Service::Full).await.unwrap(), Served::Unknown);
    for (asked, answer, drain, leaving) in [
        (Service::Paused, Served::Asked, true, false),
        (Service::Full, Served::Asked, false, false),
        (Service::Leaving, Served::Asked, true, true),
        (Service::Full, Served::Leaving, true, true),
        (Service::Paused, Served::Leaving, true, true),
        (Service::Leaving, Served::Asked, true, true),
    ] {
        assert_eq!(store.drain("w1", asked).await.unwrap(), answer, "{asked:?}");
        let worker = store.workers().await.unwrap().remove(0);
        assert_eq!((worker.drain, worker.leaving), (drain, leaving), "{asked:?}");
    }
}
