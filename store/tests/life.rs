//! One job's life against a real server: what each script promises, step by step.
#![allow(missing_docs, clippy::unwrap_used)]

mod support;

use remuda_protocol::outcome::Outcome;
use remuda_store::{Added, Beat, Entry, NextCall, Opened, Renewal, Sealed, TaskResult, Verdict};
use support::{PrivateRedis, drain_all, fill, group, job, join, leave, next, result, want};

#[tokio::test]
async fn a_job_runs_to_its_end_and_leaves_nothing() {
    let redis = PrivateRedis::start(&[]);
    let store = redis.store().await;
    assert_eq!(store.open(&job("j1", vec![group("a", &[])]), "me", 60_000).await.unwrap(), Opened::New);
    assert_eq!(store.open(&job("j1", vec![group("a", &[])]), "me", 60_000).await.unwrap(), Opened::Again);
    fill(&store, "j1", 0, 0, 150).await;
    store.seal_job("j1").await.unwrap();
    join(&store, "w1", 1, "").await;
    assert_eq!(drain_all(&store, "w1").await, 150);
    let snapshot = store.snapshot("j1").await.unwrap();
    assert_eq!((snapshot.state.as_str(), snapshot.groups[0].ended[0]), ("passed", 150));
    assert_eq!(store.ids("j1", 0, 98, 4).await.unwrap(), ["test-98", "test-99", "test-100", "test-101"]);
    while store.gc(200, Some("j1")).await.unwrap().1 {}
    leave(&store, "w1").await;
    let mut raw = redis.raw().await;
    let keys: Vec<String> = redis::cmd("KEYS").arg("*").query_async(&mut raw).await.unwrap();
    assert_eq!(keys, ["remuda:{test}:meta"]);
}

#[tokio::test]
async fn a_late_result_changes_nothing() {
    let redis = PrivateRedis::start(&[]);
    let store = redis.store().await;
    store.open(&job("j1", vec![group("a", &[])]), "me", 60_000).await.unwrap();
    fill(&store, "j1", 0, 0, 1).await;
    join(&store, "w1", 1, "").await;
    let claim = next(&store, "w1", vec![], vec![want(0)]).await.claims.remove(0);
    let yielded = TaskResult { outcome: None, ..result(&claim, 0, Outcome::Passed) };
    assert_eq!(next(&store, "w1", vec![yielded], vec![]).await.verdicts, [Verdict::Ok]);
    let again = next(&store, "w1", vec![], vec![want(0)]).await.claims.remove(0);
    assert!(again.fence > claim.fence);
    assert_eq!(next(&store, "w1", vec![result(&claim, 0, Outcome::Passed)], vec![]).await.verdicts, [Verdict::Stale]);
    assert_eq!(next(&store, "w1", vec![result(&again, 0, Outcome::Passed)], vec![]).await.verdicts, [Verdict::Ok]);
    assert_eq!(
        next(&store, "w1", vec![result(&again, 0, Outcome::Passed)], vec![]).await.verdicts,
        [Verdict::Duplicate]
    );
}

#[tokio::test]
async fn a_repeated_claim_returns_the_same_tasks() {
    let redis = PrivateRedis::start(&[]);
    let store = redis.store().await;
    store.open(&job("j1", vec![group("a", &[])]), "me", 60_000).await.unwrap();
    fill(&store, "j1", 0, 0, 10).await;
    join(&store, "w1", 1, "").await;
    let call = NextCall {
        worker: "w1".into(),
        nonce: "n".into(),
        lease_ms: 30_000,
        wants: vec![want(0)],
        ..Default::default()
    };
    let (one, two) = (store.next(&call).await.unwrap(), store.next(&call).await.unwrap());
    assert_eq!(one.claims, two.claims);
    assert_eq!(one.claims.len(), 1);
}

#[tokio::test]
async fn a_gate_opens_when_what_it_needs_succeeded_and_skips_when_not() {
    let redis = PrivateRedis::start(&[]);
    let store = redis.store().await;
    let spec = job("j1", vec![group("a", &[]), group("b", &[0]), group("c", &[1])]);
    store.open(&spec, "me", 60_000).await.unwrap();
    for g in 0..3 {
        fill(&store, "j1", g, g, 2).await;
    }
    store.seal_job("j1").await.unwrap();
    join(&store, "w1", 4, "").await;
    let first = next(&store, "w1", vec![], (0..4).map(want).collect()).await.claims;
    assert!(first.iter().all(|c| c.group == 0), "only the open gate gives");
    let passed =
        first.iter().flat_map(|c| (0..c.ids.len()).map(|i| result(c, c.first + i as u32, Outcome::Passed))).collect();
    let second = next(&store, "w1", passed, (0..4).map(want).collect()).await.claims;
    assert!(!second.is_empty() && second.iter().all(|c| c.group == 1));
    let failed =
        second.iter().flat_map(|c| (0..c.ids.len()).map(|i| result(c, c.first + i as u32, Outcome::Failed))).collect();
    assert!(next(&store, "w1", failed, (0..4).map(want).collect()).await.claims.is_empty());
    let snapshot = store.snapshot("j1").await.unwrap();
    assert_eq!(
        snapshot.groups.iter().map(|g| g.state.as_str()).collect::<Vec<_>>(),
        ["succeeded", "failed", "skipped"]
    );
    assert_eq!((snapshot.state.as_str(), snapshot.groups[2].ended[5]), ("failed", 2));
}

#[tokio::test]
async fn a_group_that_is_skipped_while_it_is_sent_takes_the_rest_as_skipped() {
    let redis = PrivateRedis::start(&[]);
    let store = redis.store().await;
    store.open(&job("j1", vec![group("a", &[]), group("b", &[0])]), "me", 60_000).await.unwrap();
    fill(&store, "j1", 0, 0, 1).await;
    let run = |first| [Entry { lane: 1, first, count: 1, us: -1, cost: -1, whole: false, more: false }];
    assert_eq!(store.add("j1", 1, 0, 0, &["x".into()], &run(0)).await.unwrap(), Added::New(1));
    join(&store, "w1", 1, "").await;
    let claim = next(&store, "w1", vec![], vec![want(0)]).await.claims.remove(0);
    next(&store, "w1", vec![result(&claim, 0, Outcome::Failed)], vec![]).await;
    assert_eq!(store.add("j1", 1, 0, 2, &["z".into()], &run(2)).await.unwrap(), Added::Gap(1));
    assert_eq!(store.add("j1", 1, 0, 1, &["y".into()], &run(1)).await.unwrap(), Added::New(2));
    assert_eq!(store.add("j1", 1, 0, 1, &["y".into()], &run(1)).await.unwrap(), Added::Again(2));
    assert_eq!(store.seal("j1", 1, 0, 3).await.unwrap(), Sealed::Count(2));
    assert_eq!(store.seal("j1", 1, 0, 2).await.unwrap(), Sealed::New);
    assert_eq!(store.seal_job("j1").await.unwrap(), Sealed::New);
    let snapshot = store.snapshot("j1").await.unwrap();
    assert_eq!((snapshot.state.as_str(), snapshot.groups[1].state.as_str()), ("failed", "skipped"));
    assert_eq!((snapshot.groups[1].added, snapshot.groups[1].ended[5]), (2, 2));
    assert_eq!(store.ids("j1", 1, 0, 2).await.unwrap(), ["x", "y"]);
    assert!(next(&store, "w1", vec![], vec![want(0)]).await.claims.is_empty());
}

#[tokio::test]
async fn locks_are_all_or_none_and_free_with_the_last_task() {
    let redis = PrivateRedis::start(&[]);
    let store = redis.store().await;
    let mut locked = group("a", &[]);
    locked.lanes[0].locks.insert("board".into(), 2);
    let mut spec = job("j1", vec![locked]);
    spec.pools.insert("board".into(), vec!["b1".into(), "b2".into(), "b3".into()]);
    store.open(&spec, "me", 60_000).await.unwrap();
    fill(&store, "j1", 0, 0, 4).await;
    join(&store, "w1", 2, "").await;
    let claims = next(&store, "w1", vec![], vec![want(0), want(1)]).await.claims;
    assert_eq!(claims.len(), 1, "two of three are taken, the second claim lacks one");
    assert_eq!(claims[0].locks, [("board".to_owned(), vec!["b1".to_owned(), "b2".to_owned()])]);
    let done = vec![result(&claims[0], 0, Outcome::Passed)];
    let claims = next(&store, "w1", done, vec![want(1)]).await.claims;
    assert_eq!(claims[0].locks[0].1, ["b3", "b1"]);
}

#[tokio::test]
async fn labels_decide_who_may_claim() {
    let redis = PrivateRedis::start(&[]);
    let store = redis.store().await;
    let mut gpu = group("a", &[]);
    gpu.lanes[0].labels = vec!["gpu".into(), "big".into()];
    store.open(&job("j1", vec![gpu]), "me", 60_000).await.unwrap();
    fill(&store, "j1", 0, 0, 1).await;
    join(&store, "plain", 1, "linux").await;
    join(&store, "fits", 1, "big,gpu,linux").await;
    assert!(next(&store, "plain", vec![], vec![want(0)]).await.claims.is_empty());
    assert_eq!(next(&store, "fits", vec![], vec![want(0)]).await.claims.len(), 1);
}

#[tokio::test]
async fn cancel_ends_what_waits_and_tells_what_runs() {
    let redis = PrivateRedis::start(&[]);
    let store = redis.store().await;
    store.open(&job("j1", vec![group("a", &[]), group("b", &[0])]), "me", 60_000).await.unwrap();
    fill(&store, "j1", 0, 0, 5).await;
    join(&store, "w1", 1, "").await;
    let claim = next(&store, "w1", vec![], vec![want(0)]).await.claims.remove(0);
    store.cancel("j1", "user", None).await.unwrap();
    let beat = Beat { worker: "w1".into(), lease_ms: 30_000, running: "{}".into(), held: vec![(claim.fence, 10)] };
    assert_eq!(store.beat(&beat).await.unwrap().renewals, [Renewal::Cancel]);
    next(&store, "w1", vec![result(&claim, 0, Outcome::Cancelled)], vec![want(0)]).await;
    let snapshot = store.snapshot("j1").await.unwrap();
    assert_eq!((snapshot.state.as_str(), snapshot.groups[0].ended[6]), ("cancelled", 5));
}

#[tokio::test]
async fn a_worker_that_never_heard_of_itself_must_resync() {
    let redis = PrivateRedis::start(&[]);
    let store = redis.store().await;
    let call = NextCall { worker: "ghost".into(), nonce: "n".into(), lease_ms: 30_000, ..Default::default() };
    assert!(matches!(store.next(&call).await, Err(remuda_store::StoreError::UnknownWorker { .. })));
}

#[tokio::test]
async fn adding_a_chunk_twice_is_harmless_and_a_wrong_one_is_refused() {
    let redis = PrivateRedis::start(&[]);
    let store = redis.store().await;
    store.open(&job("j1", vec![group("a", &[])]), "me", 60_000).await.unwrap();
    let ids = vec!["x".to_owned(), "y".to_owned()];
    let run = [Entry { lane: 0, first: 0, count: 2, us: 5, cost: -1, whole: false, more: false }];
    assert_eq!(store.add("j1", 0, 0, 0, &ids, &run).await.unwrap(), Added::New(2));
    assert_eq!(store.add("j1", 0, 0, 0, &ids, &run).await.unwrap(), Added::Again(2));
    assert_eq!(store.add("j1", 0, 0, 0, &["x".into(), "z".into()], &run).await.unwrap(), Added::Conflict(2));
    assert_eq!(store.add("j1", 0, 0, 5, &ids, &run).await.unwrap(), Added::Gap(2));
    assert_eq!(store.seal("j1", 0, 0, 3).await.unwrap(), Sealed::Count(2));
}
