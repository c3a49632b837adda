//! How jobs, groups and attempts end: in every order, once, and truthfully.
#![allow(missing_docs, clippy::unwrap_used)]

mod support;

use remuda_protocol::event::{Event, Sequence};
use remuda_protocol::outcome::Outcome;
use remuda_protocol::spec::{GroupKind, GroupSpec};
use remuda_store::{
    Added, Beat, Cancelled, Claim, Entry, Logged, NextCall, Renewal, Sealed, Store, TaskResult, Verdict,
};
use support::{PrivateRedis, START_MS, fill, group, job, join, leave, next, result, want};

async fn states(store: &Store, job: &str) -> (String, Vec<String>) {
    let s = store.snapshot(job).await.unwrap();
    (s.state, s.groups.into_iter().map(|g| g.state).collect())
}

fn words(list: &[&str]) -> Vec<String> {
    list.iter().map(|w| (*w).to_owned()).collect()
}

async fn claim_one(store: &Store, worker: &str) -> Claim {
    next(store, worker, vec![], vec![want(0)]).await.claims.remove(0)
}

fn collector(of: u32, needs: &[u32]) -> GroupSpec {
    let mut collect = group("collect", needs);
    collect.kind = GroupKind::Collect;
    collect.collects = Some(of);
    collect
}

#[tokio::test]
async fn a_job_ends_once_however_its_groups_end_together() {
    let redis = PrivateRedis::start(&[]);
    let store = redis.store().await;
    store.open(&job("j1", vec![group("a", &[]), group("b", &[0]), group("c", &[0, 1])]), "me", 0).await.unwrap();
    for g in 0..3 {
        fill(&store, "j1", g, g, 1).await;
    }
    store.seal_job("j1").await.unwrap();
    join(&store, "w1", 1, "").await;
    let claim = claim_one(&store, "w1").await;
    next(&store, "w1", vec![result(&claim, 0, Outcome::Failed)], vec![]).await;
    let events = store.events_after("j1", Sequence::default()).await.unwrap();
    let ends = events
        .iter()
        .flat_map(|(_, b)| Event::parse_batch(b))
        .filter(|e| matches!(e, Event::Job { state, .. } if state == "failed"));
    assert_eq!(ends.count(), 1);
}

#[tokio::test]
async fn an_open_job_whose_groups_have_all_ended_can_be_cancelled() {
    let redis = PrivateRedis::start(&[]);
    let store = redis.store().await;
    store.open(&job("j1", vec![group("a", &[])]), "me", 0).await.unwrap();
    fill(&store, "j1", 0, 0, 0).await;
    assert_eq!(states(&store, "j1").await, ("open".to_owned(), words(&["succeeded"])));
    assert_eq!(store.cancel("j1", "user", None).await.unwrap(), Cancelled::New);
    assert_eq!(states(&store, "j1").await.0, "cancelled");
}

#[tokio::test]
async fn a_job_with_a_cancelled_attempt_has_not_passed() {
    let redis = PrivateRedis::start(&[]);
    let store = redis.store().await;
    let mut retried = group("a", &[]);
    retried.retries = 3;
    store.open(&job("j1", vec![retried, group("b", &[0])]), "me", 0).await.unwrap();
    fill(&store, "j1", 0, 0, 1).await;
    fill(&store, "j1", 1, 1, 1).await;
    store.seal_job("j1").await.unwrap();
    join(&store, "w1", 1, "").await;
    let claim = claim_one(&store, "w1").await;
    assert_eq!(store.cancel("j1", "user", Some(claim.fence)).await.unwrap(), Cancelled::New);
    assert_eq!(store.cancel("j1", "user", Some(claim.fence)).await.unwrap(), Cancelled::Again);
    let beat = Beat { worker: "w1".into(), lease_ms: 30_000, running: "{}".into(), held: vec![(claim.fence, 10)] };
    assert_eq!(store.beat(&beat).await.unwrap().renewals, [Renewal::Cancel]);
    next(&store, "w1", vec![result(&claim, 0, Outcome::Cancelled)], vec![]).await;
    assert_eq!(states(&store, "j1").await, ("incomplete".to_owned(), words(&["cancelled", "skipped"])));
}

#[tokio::test]
async fn a_cancelled_attempt_is_not_tried_again_when_it_fails_or_is_given_back() {
    let redis = PrivateRedis::start(&[]);
    let store = redis.store().await;
    let mut retried = group("a", &[]);
    retried.retries = 3;
    for (id, outcome, counted) in [("j1", Some(Outcome::Failed), 1), ("j2", None, 6)] {
        store.open(&job(id, vec![retried.clone()]), "me", 0).await.unwrap();
        fill(&store, id, 0, 0, 1).await;
        store.seal_job(id).await.unwrap();
        join(&store, "w1", 1, "").await;
        let claim = claim_one(&store, "w1").await;
        store.cancel(id, "user", Some(claim.fence)).await.unwrap();
        next(&store, "w1", vec![TaskResult { outcome, ..result(&claim, 0, Outcome::Passed) }], vec![]).await;
        assert_eq!(store.snapshot(id).await.unwrap().groups[0].ended[counted], 1);
    }
}

#[tokio::test]
async fn a_cancelled_attempt_whose_worker_died_is_cancelled_not_lost() {
    let redis = PrivateRedis::start(&[]);
    let store = redis.clocked().await;
    store.open(&job("j1", vec![group("a", &[])]), "me", 0).await.unwrap();
    fill(&store, "j1", 0, 0, 1).await;
    store.seal_job("j1").await.unwrap();
    join(&store, "w1", 1, "").await;
    let claim = claim_one(&store, "w1").await;
    store.cancel("j1", "user", Some(claim.fence)).await.unwrap();
    for second in 1..20 {
        redis.set_clock(START_MS + second * 4000).await;
        store.reap(100).await.unwrap();
    }
    assert_eq!(store.snapshot("j1").await.unwrap().groups[0].ended[6], 1);
}

#[tokio::test]
async fn nothing_is_claimed_from_a_job_by_the_call_that_brings_its_last_allowed_failure() {
    let redis = PrivateRedis::start(&[]);
    let store = redis.store().await;
    let mut spec = job("j1", vec![group("a", &[])]);
    spec.max_failures = 1;
    store.open(&spec, "me", 0).await.unwrap();
    fill(&store, "j1", 0, 0, 9).await;
    join(&store, "w1", 1, "").await;
    let claim = claim_one(&store, "w1").await;
    let reply = next(&store, "w1", vec![result(&claim, 0, Outcome::Failed)], vec![want(0)]).await;
    assert!(reply.claims.is_empty());
    assert_eq!(states(&store, "j1").await, ("failed".to_owned(), words(&["failed"])));
}

#[tokio::test]
async fn a_group_whose_collector_is_skipped_is_skipped_and_a_loss_stays_incomplete() {
    let redis = PrivateRedis::start(&[]);
    let store = redis.store().await;
    let spec = job("j1", vec![group("a", &[]), group("tests", &[0]), collector(1, &[0])]);
    store.open(&spec, "me", 0).await.unwrap();
    fill(&store, "j1", 0, 0, 1).await;
    fill(&store, "j1", 2, 2, 1).await;
    store.seal_job("j1").await.unwrap();
    join(&store, "w1", 1, "").await;
    let claim = claim_one(&store, "w1").await;
    next(&store, "w1", vec![result(&claim, 0, Outcome::Cancelled)], vec![]).await;
    assert_eq!(states(&store, "j1").await, ("incomplete".to_owned(), words(&["cancelled", "skipped", "skipped"])));
}

#[tokio::test]
async fn a_failed_collection_waits_for_what_runs_and_then_fails_its_group() {
    let redis = PrivateRedis::start(&[]);
    let store = redis.store().await;
    let spec = job("j1", vec![group("tests", &[]), collector(0, &[])]);
    store.open(&spec, "me", 0).await.unwrap();
    fill(&store, "j1", 1, 1, 1).await;
    store.seal_job("j1").await.unwrap();
    join(&store, "w1", 1, "").await;
    join(&store, "w2", 1, "").await;
    let collect = claim_one(&store, "w1").await;
    let run = [Entry { lane: 0, first: 0, count: 2, us: -1, cost: -1, whole: false, more: false }];
    assert_eq!(store.add("j1", 0, collect.fence, 0, &["x".into(), "y".into()], &run).await.unwrap(), Added::New(2));
    let test = claim_one(&store, "w2").await;
    next(&store, "w1", vec![result(&collect, 0, Outcome::Failed)], vec![]).await;
    assert_eq!(states(&store, "j1").await, ("sealed".to_owned(), words(&["closing", "failed"])));
    next(&store, "w2", vec![result(&test, 0, Outcome::Passed)], vec![]).await;
    assert_eq!(states(&store, "j1").await, ("failed".to_owned(), words(&["failed", "failed"])));
    assert_eq!(store.snapshot("j1").await.unwrap().groups[0].ended, [1, 0, 0, 0, 0, 0, 1]);
}

#[tokio::test]
async fn a_collector_that_is_repeated_finds_its_chunks_there() {
    let redis = PrivateRedis::start(&[]);
    let store = redis.store().await;
    store.open(&job("j1", vec![group("tests", &[]), collector(0, &[])]), "me", 0).await.unwrap();
    fill(&store, "j1", 1, 1, 1).await;
    join(&store, "w1", 1, "").await;
    let first = claim_one(&store, "w1").await;
    let run = |first, count| [Entry { lane: 0, first, count, us: -1, cost: -1, whole: false, more: false }];
    let ids = ["x".to_owned(), "y".to_owned(), "z".to_owned()];
    store.add("j1", 0, first.fence, 0, &ids[..2], &run(0, 2)).await.unwrap();
    let back = TaskResult { outcome: None, ..result(&first, 0, Outcome::Passed) };
    next(&store, "w1", vec![back], vec![]).await;
    // the next collector cuts its chunks otherwise: it is told where to go on
    join(&store, "w2", 2, "").await;
    let both = next(&store, "w2", vec![], vec![want(0), want(1)]).await.claims;
    let again = both.into_iter().find(|c| c.group == 1).unwrap();
    assert_eq!(store.add("j1", 0, first.fence, 0, &ids, &run(0, 3)).await.unwrap(), Added::Stale);
    assert_eq!(store.add("j1", 0, again.fence, 0, &ids, &run(0, 3)).await.unwrap(), Added::Gap(2));
    assert_eq!(store.add("j1", 0, again.fence, 2, &ids[2..], &run(2, 1)).await.unwrap(), Added::New(3));
    assert_eq!(store.seal("j1", 0, again.fence, 3).await.unwrap(), Sealed::New);
}

#[tokio::test]
async fn a_chunk_whose_runs_do_not_cover_its_tasks_is_refused_before_anything_is_written() {
    let redis = PrivateRedis::start(&[]);
    let store = redis.store().await;
    store.open(&job("j1", vec![group("a", &[]), group("b", &[])]), "me", 0).await.unwrap();
    let ids = ["x".to_owned(), "y".to_owned()];
    let run = |lane, first, count| Entry { lane, first, count, us: -1, cost: -1, whole: false, more: false };
    for runs in [
        vec![],
        vec![run(0, 0, 1)],
        vec![run(0, 0, 3)],
        vec![run(0, 0, 2), run(0, 1, 1)],
        vec![run(1, 0, 2)],
        vec![run(9, 0, 2)],
    ] {
        store.add("j1", 0, 0, 0, &ids, &runs).await.unwrap_err();
    }
    assert_eq!(store.add("j1", 0, 0, 0, &ids, &[run(0, 0, 2)]).await.unwrap(), Added::New(2));
}

#[tokio::test]
async fn nobody_reports_a_loss_and_late_but_untaken_results_count() {
    let redis = PrivateRedis::start(&[]);
    let store = redis.clocked().await;
    store.open(&job("j1", vec![group("a", &[])]), "me", 0).await.unwrap();
    fill(&store, "j1", 0, 0, 1).await;
    join(&store, "w1", 1, "").await;
    let claim = claim_one(&store, "w1").await;
    assert_eq!(next(&store, "w1", vec![result(&claim, 0, Outcome::Lost)], vec![]).await.verdicts, [Verdict::Stale]);
    // the lease has run out and the very call that reaps it brings the result
    for second in 1..9 {
        redis.set_clock(START_MS + second * 4000).await;
        let call = NextCall { worker: "w1".into(), lease_ms: 30_000, ..NextCall::default() };
        if second < 8 {
            store.next(&call).await.unwrap();
        }
    }
    assert_eq!(next(&store, "w1", vec![result(&claim, 0, Outcome::Passed)], vec![]).await.verdicts, [Verdict::Ok]);
}

#[tokio::test]
async fn the_log_of_another_task_is_refused_and_all_logs_go_with_the_job() {
    let redis = PrivateRedis::start(&[]);
    let store = redis.store().await;
    store.open(&job("j1", vec![group("a", &[])]), "me", 0).await.unwrap();
    fill(&store, "j1", 0, 0, 1).await;
    store.seal_job("j1").await.unwrap();
    join(&store, "w1", 1, "").await;
    let claim = claim_one(&store, "w1").await;
    assert_eq!(store.log(claim.fence, 5, 0, "o", b"x").await.unwrap(), Logged::Stale);
    assert_eq!(store.log(claim.fence, 0, 0, "o", b"xyz").await.unwrap(), Logged::Ok(3));
    assert_eq!(store.log(claim.fence, 0, 9, "o", b"x").await.unwrap(), Logged::Gap(3));
    // what is kept of a job's output has a budget; it goes on being shown
    let mut raw = redis.raw().await;
    let _: i64 =
        redis::cmd("HSET").arg("remuda:{test}:job:j1").arg(&["det_budget", "5"]).query_async(&mut raw).await.unwrap();
    assert_eq!(store.log(claim.fence, 0, 3, "o", b"abc").await.unwrap(), Logged::Ok(6));
    assert_eq!(store.log(claim.fence, 0, 6, "o", b"de").await.unwrap(), Logged::Ok(8));
    let tail = format!("remuda:{{test}}:log:j1:0:0:{}", claim.fence);
    let kept: String = redis::cmd("GET").arg(tail).query_async(&mut raw).await.unwrap();
    assert_eq!(kept, "xyzde", "three more would have been too much, two were not");
    next(&store, "w1", vec![result(&claim, 0, Outcome::Passed)], vec![]).await;
    leave(&store, "w1").await;
    while store.gc(1, Some("j1")).await.unwrap().1 {}
    let keys: Vec<String> = redis::cmd("KEYS").arg("*").query_async(&mut redis.raw().await).await.unwrap();
    assert_eq!(keys, ["remuda:{test}:meta"]);
}
