//! Random jobs and workers, and what their coordinator means to add.

use std::collections::BTreeMap;

use remuda_protocol::spec::{Adapter, GroupKind, GroupSpec, JobSpec, LaneSpec, Template};
use remuda_store::{Claim, Entry, NextCall, Registration};

use crate::random::Random;
use crate::support;

pub struct Chunk {
    pub first: u32,
    pub ids: Vec<String>,
    pub lanes: Vec<u32>,
    pub runs: Vec<Entry>,
}

pub struct GroupPlan {
    pub chunks: Vec<Chunk>,
    pub total: u32,
}

/// A worker as its own process sees it.
pub struct Client {
    pub who: Registration,
    /// Claims it knows of.
    pub held: BTreeMap<u64, Claim>,
    /// Its last call that asked for work.
    pub last: Option<NextCall>,
}

/// The same pools in every job of a history, but for those that define them otherwise.
pub fn pools(random: &mut Random) -> BTreeMap<String, Vec<String>> {
    ["p", "q"]
        .iter()
        .map(|p| ((*p).to_owned(), (0..random.between(1, 3)).map(|i| format!("{p}{i}")).collect()))
        .collect()
}

pub fn labels(random: &mut Random) -> String {
    (*random.of(&["", "a", "a,b", "a,b"])).to_owned()
}

fn lane(random: &mut Random, pools: &BTreeMap<String, Vec<String>>) -> LaneSpec {
    let labels: &[&str] = [&[] as &[&str], &[], &["a"], &["b", "a"]][random.below(4)];
    let mut lane = LaneSpec { labels: labels.iter().map(|l| (*l).to_owned()).collect(), ..LaneSpec::default() };
    if random.percent(35) {
        for (pool, items) in pools {
            if random.percent(60) {
                lane.locks.insert(pool.clone(), random.between(1, u32::try_from(items.len()).unwrap()));
            }
        }
    }
    lane
}

pub fn job(random: &mut Random, id: &str, pools: &BTreeMap<String, Vec<String>>) -> JobSpec {
    let count = random.between(1, 4);
    let mut groups: Vec<GroupSpec> = Vec::new();
    for g in 0..count {
        let needs: Vec<u32> =
            (0..g).filter(|n| groups[*n as usize].kind != GroupKind::Collect && random.percent(35)).collect();
        let mut group = support::group(&format!("g{g}"), &needs);
        group.adapter = Adapter::Command { template: Template::Argv(vec!["true".to_owned()]) };
        group.lanes = (0..random.between(1, 2)).map(|_| lane(random, pools)).collect();
        group.retries = random.between(0, 2);
        group.max_losses = random.between(0, 1);
        groups.push(group);
    }
    if random.percent(35) {
        let target = random.between(0, count - 1);
        let mut collect = support::group("collect", &groups[target as usize].needs.clone());
        collect.kind = GroupKind::Collect;
        collect.collects = Some(target);
        let warm = random.percent(60);
        groups[target as usize].lanes.iter_mut().for_each(|l| l.warm = warm);
        groups.push(collect);
    }
    let mut spec = support::job(id, groups);
    (*random.of(&["ann", "bob", "ann"])).clone_into(&mut spec.submitter);
    spec.priority = *random.of(&[0, 0, 0, 1]);
    spec.weight = *random.of(&[1, 1, 3]);
    spec.max_slots = *random.of(&[0, 0, 0, 1, 2]);
    spec.max_failures = *random.of(&[0, 0, 0, 0, 2]);
    spec.deadline_ms = *random.of(&[None, None, None, Some(120_000)]);
    spec.detach = random.percent(20);
    spec.detail_budget = *random.of(&[30, 1 << 20]);
    for (pool, items) in pools {
        let used = spec.groups.iter().flat_map(|g| &g.lanes).any(|l| l.locks.contains_key(pool));
        if used || random.percent(10) {
            let mut items = items.clone();
            if random.percent(4) {
                items.push("more".to_owned());
            }
            spec.pools.insert(pool.clone(), items);
        }
    }
    spec
}

fn runs(random: &mut Random, first: u32, n: u32, lanes: &[u32], of: &mut Vec<u32>) -> Vec<Entry> {
    let (mut runs, mut at): (Vec<Entry>, u32) = (Vec::new(), first);
    while at < first + n {
        let count = random.between(1, 6.min(first + n - at)).max(if n > 50 { (first + n - at).min(30) } else { 1 });
        let before = of.last().copied();
        let lane = before.filter(|_| random.percent(50)).unwrap_or(*random.of(lanes));
        let us = *random.of(&[-1, -1, 500, 20_000, 3_000_000]);
        let cost = *random.of(&[-1, -1, 0, 1_000, 10_000_000]);
        let entry = Entry {
            lane,
            first: at,
            count,
            us,
            cost,
            whole: random.percent(20),
            more: before == Some(lane) && random.percent(20),
        };
        of.extend((0..count).map(|_| lane));
        runs.push(entry);
        at += count;
    }
    runs
}

pub fn group_plan(random: &mut Random, g: u32, kind: GroupKind, lanes: &[u32]) -> GroupPlan {
    let total = match (kind, random.below(100)) {
        (GroupKind::Collect, _) => 1,
        (_, 0..8) => 0,
        (_, 8..70) => random.between(1, 6),
        (_, 70..96) => random.between(6, 20),
        (_, 96..98) => random.between(90, 130),
        _ => random.between(190, 260),
    };
    let (mut chunks, mut first): (Vec<Chunk>, u32) = (Vec::new(), 0);
    let mut all = Vec::new();
    while first < total {
        let n = if total > 20 { (total - first).min(200) } else { random.between(1, 8).min(total - first) };
        let runs = runs(random, first, n, lanes, &mut all);
        let ids = (first..first + n).map(|t| format!("g{g} t{t}")).collect();
        chunks.push(Chunk { first, ids, lanes: all[first as usize..].to_vec(), runs });
        first += n;
    }
    GroupPlan { chunks, total }
}
