//! From a manifest to tasks: the plan with history, then chunks into the store under the collector's fence.

use std::collections::HashMap;

use remuda_protocol::plan::order::{Keep, Known, Plan, SetupCosts, plan};
use remuda_protocol::spec::{GroupBy, MAX_ID_BYTES};
use remuda_store::{Added, Entry, History, ITEMS, Sealed, Store};

use super::messages::Test;

/// How a suite wants its tests handed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// As it is fastest.
    Free,
    /// Never out of collection order: its runner cannot go back.
    Forward,
    /// One after another, on one slot.
    Strict,
}

/// Where collected tests go.
#[derive(Clone, Debug)]
pub struct Target {
    /// Job id.
    pub job: String,
    /// Group number.
    pub group: u32,
    /// Lane number.
    pub lane: u32,
    /// Fence of the collect attempt.
    pub fence: u64,
    /// History key.
    pub project: String,
    /// What stays together.
    pub group_by: GroupBy,
    /// How the suite wants its tests handed out.
    pub order: Order,
    /// What one start of a process costs beside its tests, µs.
    pub startup_us: Option<u64>,
    /// Most failures and slots that the suite asks for.
    pub limits: (u32, u32),
}

/// Ids made unique: the second `x` of a manifest is `x#2`.
#[must_use]
pub fn unique_ids(tests: &[Test]) -> Vec<String> {
    let mut seen: HashMap<&str, u32> = HashMap::new();
    tests
        .iter()
        .map(|test| {
            let n = seen.entry(&test.id).or_default();
            *n += 1;
            if *n == 1 { test.id.clone() } else { format!("{}#{n}", test.id) }
        })
        .collect()
}

/// The tests whose ids are among `wanted`; all of them if nothing is.
#[must_use]
pub fn only(tests: Vec<Test>, ids: Vec<String>, wanted: &[String]) -> (Vec<Test>, Vec<String>) {
    if wanted.is_empty() {
        return (tests, ids);
    }
    let wanted: std::collections::HashSet<&str> = wanted.iter().map(String::as_str).collect();
    tests.into_iter().zip(ids).filter(|(_, id)| wanted.contains(id.as_str())).unzip()
}

/// What to tell the user of an id that cannot be stored, if there is one.
#[must_use]
pub fn too_long(ids: &[String]) -> Option<String> {
    let long = ids.iter().find(|id| id.len() > MAX_ID_BYTES)?;
    let start: String = long.chars().take(60).collect();
    Some(format!(
        "the test id `{start}…` has {} bytes; at most {MAX_ID_BYTES} are possible: give its parameters shorter ids",
        long.len()
    ))
}

/// Plans and adds a manifest, then seals the group. Returns the number of tests.
///
/// # Errors
/// A sentence that says why the tests could not be added.
pub async fn add_all(store: &Store, target: &Target, tests: &[Test], ids: &[String]) -> Result<u32, String> {
    let failed = |e| format!("failed to {e}");
    let history = store.history_load(&target.project).await.map_err(failed)?;
    let slots: u32 = store.workers().await.map_err(failed)?.iter().map(|w| w.slots).sum();
    let there = already_there(store, target).await?;
    let rest = missing(ids, &there)?;
    let (tests, names): (Vec<Test>, Vec<String>) = rest.iter().map(|&i| (tests[i].clone(), ids[i].clone())).unzip();
    let plan = make_plan(&tests, &names, &history, slots.max(1), target);
    let total = u32::try_from(ids.len()).map_err(|_| "more than four billion tests".to_owned())?;
    let first = u32::try_from(there.len()).unwrap_or(u32::MAX);
    add_chunks(store, target, &plan, &names, first).await?;
    match store.seal_with(&target.job, target.group, target.fence, total, target.limits).await {
        Ok(Sealed::New | Sealed::Again) => Ok(total),
        Ok(other) => Err(format!("the group could not be sealed ({other:?})")),
        Err(e) => Err(format!("failed to {e}")),
    }
}

/// What a collector that died before us had added.
async fn already_there(store: &Store, target: &Target) -> Result<Vec<String>, String> {
    let snapshot = store.snapshot(&target.job).await.map_err(|e| format!("failed to {e}"))?;
    let added = snapshot.groups.get(target.group as usize).map_or(0, |g| g.added);
    store.ids(&target.job, target.group, 0, added).await.map_err(|e| format!("failed to {e}"))
}

/// Positions of the tests that are not there yet.
fn missing(ids: &[String], there: &[String]) -> Result<Vec<usize>, String> {
    let found: HashMap<&str, usize> = ids.iter().enumerate().map(|(i, id)| (id.as_str(), i)).collect();
    if let Some(gone) = there.iter().find(|id| !found.contains_key(id.as_str())) {
        return Err(format!(
            "an earlier collection of this suite found `{gone}`, this one does not: it depends on something that changed"
        ));
    }
    let there: std::collections::HashSet<&str> = there.iter().map(String::as_str).collect();
    Ok((0..ids.len()).filter(|&i| !there.contains(ids[i].as_str())).collect())
}

/// Adds a plan's tests, numbered from `begin`, chunk by chunk; each run goes with the chunk that ends it.
async fn add_chunks(store: &Store, target: &Target, plan: &Plan, ids: &[String], begin: u32) -> Result<(), String> {
    let runs = entries(plan, target.lane);
    let mut runs = runs.iter().peekable();
    for (n, chunk) in plan.order.chunks(ITEMS).enumerate() {
        let first = u32::try_from(n * ITEMS).unwrap_or(u32::MAX);
        let names: Vec<String> = chunk.iter().map(|&i| ids[i as usize].clone()).collect();
        let end = first + u32::try_from(chunk.len()).unwrap_or(0);
        let mut here = Vec::new();
        while let Some(run) = runs.next_if(|r| r.first + r.count <= end) {
            here.push(Entry { first: begin + run.first, ..*run });
        }
        match store.add(&target.job, target.group, target.fence, begin + first, &names, &here).await {
            Ok(Added::New(_) | Added::Again(_)) => {}
            Ok(other) => return Err(format!("the tests could not be added ({other:?})")),
            Err(e) => return Err(format!("failed to {e}")),
        }
    }
    Ok(())
}

fn make_plan(tests: &[Test], ids: &[String], history: &History, slots: u32, target: &Target) -> Plan {
    let known: Vec<Known<'_>> = tests
        .iter()
        .zip(ids)
        .map(|(test, id)| Known {
            file: &test.file,
            scope: &test.scope,
            group: test.group.as_deref(),
            us: history.tests.get(id).copied(),
            first: test.first,
        })
        .collect();
    let mut costs: SetupCosts = history.costs.iter().map(|(k, v)| (k.clone(), *v)).collect();
    if let Some(us) = target.startup_us {
        // every cut starts a process more, wherever it is made
        costs = tests.iter().map(|test| (test.file.clone(), us)).collect();
    }
    plan(&known, &costs, slots as usize, keep(target))
}

fn keep(target: &Target) -> Keep {
    match (target.order, target.group_by) {
        (Order::Strict, _) => Keep::All,
        (Order::Forward, GroupBy::Test) => Keep::Order,
        (Order::Free, GroupBy::Test) => Keep::Free,
        (_, GroupBy::Class) => Keep::Scope,
        (_, GroupBy::File) => Keep::File,
    }
}

/// Runs as lane entries, cut where a chunk of ids ends (the parts continue each other).
fn entries(plan: &Plan, lane: u32) -> Vec<Entry> {
    let items = u32::try_from(ITEMS).unwrap_or(200);
    let (mut found, mut first) = (Vec::new(), 0);
    for run in &plan.runs {
        let (mut left, mut more) = (run.count, false);
        while left > 0 {
            let count = left.min(items - first % items);
            let us = if run.us < 0 { -1 } else { run.us * i64::from(count) / i64::from(run.count) };
            found.push(Entry { lane, first, count, us, cost: run.cost, whole: run.whole, more });
            first += count;
            left -= count;
            more = true;
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use remuda_protocol::plan::order::Run;

    fn test(id: &str) -> Test {
        Test { id: id.into(), file: "f".into(), scope: "f".into(), group: None, first: false }
    }

    #[test]
    fn a_second_collector_adds_only_what_the_first_had_not() {
        let ids: Vec<String> = ["a", "b", "c"].map(String::from).to_vec();
        assert_eq!(missing(&ids, &["c".to_owned(), "a".to_owned()]), Ok(vec![1]));
        assert!(missing(&ids, &["x".to_owned()]).unwrap_err().contains("`x`"));
    }

    #[test]
    fn a_job_may_want_only_some() {
        let (tests, ids) = (vec![test("a"), test("b")], vec!["a".to_owned(), "b".to_owned()]);
        assert_eq!(only(tests.clone(), ids.clone(), &["b".to_owned(), "gone".to_owned()]).1, ["b"]);
        assert_eq!(only(tests, ids, &[]).1.len(), 2);
    }

    #[test]
    fn a_repeated_id_gets_a_number() {
        assert_eq!(unique_ids(&[test("a"), test("b"), test("a"), test("a")]), ["a", "b", "a#2", "a#3"]);
    }

    #[test]
    fn a_long_run_is_cut_at_the_chunks_and_continues() {
        let plan = Plan { order: (0..450).collect(), runs: vec![Run { count: 450, us: 900, cost: 7, whole: true }] };
        let cut = entries(&plan, 3);
        assert_eq!(
            cut.iter().map(|e| (e.first, e.count, e.us, e.more)).collect::<Vec<_>>(),
            [(0, 200, 400, false), (200, 200, 400, true), (400, 50, 100, true)]
        );
    }
}
