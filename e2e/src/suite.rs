//! Suites on a fleet: a group of tests with its collection, submitted, and what became of each test.

use std::collections::BTreeMap;

use remuda_protocol::outcome::{Detail, Outcome};
use remuda_protocol::spec::{Adapter, GroupKind, JobSpec, LaneSpec};

use crate::fleet::Fleet;
use crate::support::group;

/// Outcome and detail by test id.
pub type Found = BTreeMap<String, (Outcome, Detail)>;

/// A job with one suite, group 0, and its collection, group 1.
#[must_use]
pub fn suite(fleet: &Fleet, id: &str, adapter: Adapter) -> JobSpec {
    let mut tests = group("suite", &[]);
    tests.adapter = adapter.clone();
    tests.lanes = vec![LaneSpec { warm: true, ..LaneSpec::default() }];
    let mut collect = group("suite@collect", &[]);
    collect.adapter = adapter;
    collect.kind = GroupKind::Collect;
    collect.collects = Some(0);
    fleet.job(id, vec![tests, collect])
}

pub async fn submit(fleet: &Fleet, spec: &JobSpec) {
    let store = &fleet.store;
    let run = remuda_store::Entry { lane: 1, first: 0, count: 1, us: -1, cost: -1, whole: false, more: false };
    store.open(spec, "tester", 3_600_000).await.unwrap();
    store.add(&spec.id, 1, 0, 0, &["collect".to_owned()], &[run]).await.unwrap();
    store.seal(&spec.id, 1, 0, 1).await.unwrap();
    store.seal_job(&spec.id).await.unwrap();
}

/// Submits and waits for the end: the job's state, and every test.
pub async fn run(fleet: &Fleet, spec: &JobSpec) -> (String, Found) {
    submit(fleet, spec).await;
    let end = fleet.end_of(&spec.id, 60).await;
    (end.state, results(fleet, &spec.id, 0, end.groups[0].added).await)
}

pub async fn results(fleet: &Fleet, job: &str, group: u32, n: u32) -> Found {
    let ids = fleet.store.ids(job, group, 0, n).await.unwrap();
    let records = fleet.store.records(job, group, 0, n).await.unwrap();
    let attempts: Vec<_> = records.iter().map(|r| (group, r.task, r.fence)).collect();
    let details = if attempts.is_empty() { vec![] } else { fleet.store.details(job, &attempts).await.unwrap() };
    let found = records.iter().zip(details);
    found.map(|(r, d)| (ids[r.task as usize].clone(), (r.outcome.unwrap(), d.unwrap_or_default()))).collect()
}
