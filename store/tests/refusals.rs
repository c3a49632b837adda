//! A host that cannot run a job steps aside while others can, and says why when nobody else is there.
#![allow(missing_docs, clippy::unwrap_used)]

mod support;

use remuda_protocol::event::{Event, Sequence};
use remuda_protocol::outcome::Outcome;
use remuda_protocol::spec::LaneSpec;
use remuda_store::{Bell, Claim, Refused, Registration, Service, Store, TaskResult, Verdict};
use support::{PrivateRedis, START_MS, drain_all, fill, group, job, join, leave, next, result, want};

const WHY: &str = "host a does not have the tree /x";

/// A job of `n` tasks in one lane, sealed.
async fn submit(store: &Store, n: u32, labels: &[&str]) {
    let mut tests = group("tests", &[]);
    tests.lanes = vec![LaneSpec { labels: labels.iter().map(ToString::to_string).collect(), ..LaneSpec::default() }];
    store.open(&job("j1", vec![tests]), "me", 0).await.unwrap();
    fill(store, "j1", 0, 0, n).await;
    store.seal_job("j1").await.unwrap();
}

async fn claim(store: &Store, worker: &str) -> Claim {
    next(store, worker, vec![], vec![want(0)]).await.claims.remove(0)
}

fn given_back(claim: &Claim) -> Vec<TaskResult> {
    let tasks = claim.first..claim.first + u32::try_from(claim.ids.len()).unwrap();
    tasks.map(|task| TaskResult { outcome: None, ..result(claim, task, Outcome::Passed) }).collect()
}

#[tokio::test]
async fn who_refuses_is_handed_nothing_more_and_the_others_run_everything() {
    let redis = PrivateRedis::start(&[]);
    let store = redis.store().await;
    submit(&store, 9, &[]).await;
    join(&store, "a", 2, "").await;
    join(&store, "b", 1, "").await;
    let held = claim(&store, "a").await;
    assert_eq!(store.refuse("a", held.fence, WHY).await.unwrap(), Refused::Aside(1));
    let reply = next(&store, "a", given_back(&held), vec![want(0), want(1)]).await;
    assert!(reply.verdicts.iter().all(|v| *v == Verdict::Ok) && reply.claims.is_empty(), "{reply:?}");
    assert_eq!(drain_all(&store, "b").await, 9);
    let end = store.snapshot("j1").await.unwrap();
    assert_eq!((end.state.as_str(), end.groups[0].ended[0]), ("passed", 9), "and it cost no attempt");
    assert_eq!((end.refusals.len(), end.refusals[0].reason.as_str()), (1, WHY));
    while store.gc(200, Some("j1")).await.unwrap().1 {}
    assert_eq!(store.refusals("j1").await.unwrap(), []);
}

#[tokio::test]
async fn it_is_told_once_and_repeating_it_changes_nothing() {
    let redis = PrivateRedis::start(&[]);
    let store = redis.store().await;
    submit(&store, 2, &[]).await;
    join(&store, "a", 1, "").await;
    join(&store, "b", 1, "").await;
    let held = claim(&store, "a").await;
    assert_eq!(store.refuse("a", held.fence, "two\nlines").await.unwrap(), Refused::Aside(1));
    leave(&store, "b").await;
    assert_eq!(store.refuse("a", held.fence, "two\nlines").await.unwrap(), Refused::Aside(0), "its word stands");
    let events = store.events_after("j1", Sequence::default()).await.unwrap();
    let told: Vec<Event> = events
        .iter()
        .flat_map(|(_, batch)| Event::parse_batch(batch))
        .filter(|e| matches!(e, Event::Refused { .. }))
        .collect();
    assert_eq!(told, [Event::Refused { worker: "a".into(), others: 1, reason: "two lines".into() }]);
}

#[tokio::test]
async fn the_last_one_is_told_that_it_is_alone_and_keeps_its_work() {
    let redis = PrivateRedis::start(&[]);
    let store = redis.clocked().await;
    submit(&store, 4, &["gpu"]).await;
    join(&store, "a", 1, "gpu").await;
    join(&store, "without-the-label", 1, "").await;
    join(&store, "paused", 1, "gpu").await;
    store.drain("paused", Service::Paused).await.unwrap();
    let held = claim(&store, "a").await;
    assert_eq!(store.refuse("a", held.fence, WHY).await.unwrap(), Refused::Alone);
    assert_eq!(store.refusals("j1").await.unwrap(), []);
    // another comes, cannot either, and the first is alone again
    join(&store, "b", 1, "gpu").await;
    let other = claim(&store, "b").await;
    assert_eq!(store.refuse("b", other.fence, WHY).await.unwrap(), Refused::Aside(1));
    next(&store, "b", given_back(&other), vec![]).await;
    assert_eq!(store.refuse("a", held.fence, WHY).await.unwrap(), Refused::Alone);
    // a worker that said nothing for a lease is not there
    join(&store, "c", 1, "gpu").await;
    redis.set_clock(START_MS + 30_001).await;
    assert_eq!(store.refuse("a", held.fence, WHY).await.unwrap(), Refused::Alone);
}

#[tokio::test]
async fn only_the_holder_of_a_claim_may_refuse() {
    let redis = PrivateRedis::start(&[]);
    let store = redis.store().await;
    submit(&store, 1, &[]).await;
    join(&store, "a", 1, "").await;
    join(&store, "b", 1, "").await;
    let held = claim(&store, "a").await;
    for (worker, fence) in [("b", held.fence), ("a", held.fence + 1), ("nobody", held.fence)] {
        assert_eq!(store.refuse(worker, fence, WHY).await.unwrap(), Refused::Stale, "{worker} {fence}");
    }
    next(&store, "a", vec![result(&held, 0, Outcome::Passed)], vec![]).await;
    assert_eq!(store.refuse("a", held.fence, WHY).await.unwrap(), Refused::Stale, "it has ended");
}

#[tokio::test]
async fn what_its_slots_had_not_begun_goes_to_others() {
    let redis = PrivateRedis::start(&[]);
    let store = redis.store().await;
    let spec = job("j1", vec![group("tests", &[])]);
    store.open(&spec, "me", 0).await.unwrap();
    let ids: Vec<String> = (0..6).map(|i| format!("test-{i}")).collect();
    // one run that nobody may steal from
    let run = remuda_store::Entry { lane: 0, first: 0, count: 6, us: -1, cost: -1, whole: true, more: false };
    store.add("j1", 0, 0, 0, &ids, &[run]).await.unwrap();
    store.seal("j1", 0, 0, 6).await.unwrap();
    store.seal_job("j1").await.unwrap();
    join(&store, "a", 1, "").await;
    join(&store, "b", 1, "").await;
    let held = claim(&store, "a").await;
    assert_eq!(held.ids.len(), 1, "nobody knows yet what a test takes");
    assert!(next(&store, "b", vec![], vec![want(0)]).await.claims.is_empty());
    assert_eq!(store.refuse("a", held.fence, WHY).await.unwrap(), Refused::Aside(1));
    next(&store, "a", given_back(&held), vec![]).await;
    assert_eq!(drain_all(&store, "b").await, 6);
    assert_eq!(store.snapshot("j1").await.unwrap().state, "passed");
}

#[tokio::test]
async fn a_worker_that_comes_anew_under_the_same_id_may_try_again() {
    let redis = PrivateRedis::start(&[]);
    let store = redis.clocked().await;
    submit(&store, 1, &[]).await;
    join(&store, "a", 1, "").await;
    join(&store, "b", 1, "").await;
    let held = claim(&store, "a").await;
    assert_eq!(store.refuse("a", held.fence, WHY).await.unwrap(), Refused::Aside(1));
    leave(&store, "a").await;
    redis.set_clock(START_MS + 1).await;
    join(&store, "a", 1, "").await;
    let held = claim(&store, "a").await;
    assert_eq!(store.refuse("a", held.fence, "still not").await.unwrap(), Refused::Aside(1));
    let said = store.refusals("j1").await.unwrap();
    assert_eq!((said.len(), said[0].reason.as_str()), (1, "still not"));
}

#[tokio::test]
async fn a_bell_that_the_refusing_worker_hears_first_is_heard_by_the_others_too() {
    let redis = PrivateRedis::start(&[]);
    let store = redis.store().await;
    submit(&store, 1, &[]).await;
    for worker in ["a", "b"] {
        let who = Registration { worker: worker.into(), lease_ms: 30_000, slots: 1, ..Registration::default() };
        store.resync(&who).await.unwrap();
    }
    let held = claim(&store, "a").await;
    assert_eq!(store.refuse("a", held.fence, WHY).await.unwrap(), Refused::Aside(1));
    let mut raw = redis.raw().await;
    let _: redis::Value = redis::cmd("DEL").arg("remuda:{test}:bell:").query_async(&mut raw).await.unwrap();
    let second = std::time::Duration::from_secs(5);
    let (mut of_a, mut of_b) = (Bell::new(&store, ""), Bell::new(&store, ""));
    next(&store, "a", given_back(&held), vec![]).await;
    assert!(of_a.wait(second).await && of_b.wait(second).await, "one task, and a token for each of them");
}
