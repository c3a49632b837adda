//! Slowest first, in runs: consecutive tests that share wide fixtures stay together, unless splitting gains more
//! time than it costs to set those fixtures up again (DESIGN §3 Order). What a suite wants first comes before all that,
//! in its own order.
//!
//! A test that was never seen counts as the mean of its file, a file that was never seen as the mean of all; with no
//! history at all, runs keep collection order and their time is unknown (-1): slots then steal from each other's
//! runs as measurements arrive.

use std::collections::HashMap;

/// Longest run in tasks: what one script may touch with room for results.
pub const MAX_RUN: usize = 1_000;
/// A test longer than this part of a slot's share is a run of its own.
const LONG_SHARE: u64 = 8;
/// Runs shorter than this, µs, are not worth a cut of their own.
const SHORT_RUN_US: u64 = 20_000;

/// What comes first is cut into so many runs for each slot.
const HEAD_PARTS: usize = 8;

/// What the plan knows of a test.
#[derive(Clone, Debug)]
pub struct Known<'a> {
    /// File or module.
    pub file: &'a str,
    /// What shares the widest fixtures: class or module.
    pub scope: &'a str,
    /// Name under which the suite itself keeps tests on one runner.
    pub group: Option<&'a str>,
    /// Expected time without wide set-up, µs.
    pub us: Option<u64>,
    /// To be handed out before everything that is not.
    pub first: bool,
}

/// What was learned of wide set-up, by scope name, µs.
pub type SetupCosts = HashMap<String, u64>;

/// How far runs may be cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// Cut where it gains.
    Free,
    /// Cut where it gains, but never out of order: for runners that cannot go back.
    Order,
    /// Never inside a scope.
    Scope,
    /// Never inside a file.
    File,
    /// Everything on one slot, in collection order.
    All,
}

impl Keep {
    fn whole(self) -> bool {
        matches!(self, Self::Scope | Self::File | Self::All)
    }
}

/// A stretch of the new order that is handed out together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// How many tasks, in the new order.
    pub count: u32,
    /// Expected time of all, µs; -1 unknown.
    pub us: i64,
    /// Set-up that a cut repeats, µs; -1 unknown.
    pub cost: i64,
    /// Must stay on one slot.
    pub whole: bool,
}

/// The new order (positions in the input) and its runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Positions of the input in the order in which they get their numbers.
    pub order: Vec<u32>,
    /// Runs that cover the order.
    pub runs: Vec<Run>,
}

struct Draft {
    members: Vec<u32>,
    us: Option<u64>,
    cost: Option<u64>,
    whole: bool,
}

/// Consecutive tests that share a place; `whole`: never to be parted; `first`: before others.
struct Stretch {
    members: Vec<u32>,
    whole: bool,
    first: bool,
}

/// Makes the plan for `slots` slots.
#[must_use]
pub fn plan(tests: &[Known<'_>], costs: &SetupCosts, slots: usize, keep: Keep) -> Plan {
    let times = estimate(tests);
    let total: u64 = times.iter().flatten().sum();
    let share = total / slots.max(1) as u64;
    let (mut head, mut drafts) = (Vec::new(), Vec::new());
    for stretch in stretches(tests, keep) {
        match stretch.first {
            true if stretch.whole => cut(stretch, tests, &times, costs, share, keep, &mut head),
            true => deal(&stretch.members, tests, &times, costs, slots, &mut head),
            false => cut(stretch, tests, &times, costs, share, keep, &mut drafts),
        }
    }
    if keep != Keep::Order {
        // slowest first; the sort is stable, so that equals (and the unknown) keep collection order
        drafts.sort_by_key(|d| std::cmp::Reverse(d.us.map_or(0, |us| us + d.cost.unwrap_or(0))));
    }
    let mut plan = Plan::default();
    for draft in head.into_iter().chain(drafts) {
        let us = draft.us.map_or(-1, |us| i64::try_from(us + draft.cost.unwrap_or(0)).unwrap_or(i64::MAX));
        let cost = draft.cost.map_or(-1, |c| i64::try_from(c).unwrap_or(i64::MAX));
        plan.runs.push(Run {
            count: u32::try_from(draft.members.len()).unwrap_or(u32::MAX),
            us,
            cost,
            whole: draft.whole,
        });
        plan.order.extend(draft.members);
    }
    plan
}

/// Fills the gaps: mean of the file, else mean of all, else unknown.
fn estimate(tests: &[Known<'_>]) -> Vec<Option<u64>> {
    let mut by_file: HashMap<&str, (u64, u64)> = HashMap::new();
    let mut all = (0, 0);
    for test in tests {
        if let Some(us) = test.us {
            let file = by_file.entry(test.file).or_default();
            *file = (file.0 + us, file.1 + 1);
            all = (all.0 + us, all.1 + 1);
        }
    }
    let mean = |(sum, n): (u64, u64)| sum.checked_div(n);
    tests.iter().map(|t| t.us.or_else(|| by_file.get(t.file).copied().and_then(mean)).or_else(|| mean(all))).collect()
}

/// Consecutive tests of one file, or of one scope where only scopes must stay whole; a group of the suite's own is
/// gathered from wherever its tests are.
fn stretches(tests: &[Known<'_>], keep: Keep) -> Vec<Stretch> {
    let mut found: Vec<Stretch> = Vec::new();
    let mut at: HashMap<(bool, &str, bool), usize> = HashMap::new();
    let mut last = None;
    for (test, position) in tests.iter().zip(0..) {
        let group = test.group.filter(|_| !matches!(keep, Keep::Order | Keep::All));
        let whole = group.is_some() || keep.whole();
        let name = group.unwrap_or(match keep {
            Keep::Scope => test.scope,
            Keep::All => "",
            _ => test.file,
        });
        // one that must stay whole comes early if any of it shall
        let this = (group.is_some(), name, test.first && !whole);
        // what must stay whole is gathered even where the framework's order has parted it
        match at.get(&this) {
            Some(&stretch) if whole || last == Some(this) => {
                found[stretch].members.push(position);
                found[stretch].first |= test.first;
            }
            _ => {
                at.insert(this, found.len());
                found.push(Stretch { members: vec![position], whole, first: test.first });
            }
        }
        last = Some(this);
    }
    found
}

fn setup_cost(members: &[u32], tests: &[Known<'_>], costs: &SetupCosts) -> Option<u64> {
    if costs.is_empty() {
        return None;
    }
    let first = &tests[members[0] as usize];
    let of = |name: &str| costs.get(name).copied();
    Some(of(first.file).unwrap_or(0) + if first.scope == first.file { 0 } else { of(first.scope).unwrap_or(0) })
}

/// Cuts what comes first so small that every slot gets some of it before anything else begins.
fn deal(
    members: &[u32],
    tests: &[Known<'_>],
    times: &[Option<u64>],
    costs: &SetupCosts,
    slots: usize,
    out: &mut Vec<Draft>,
) {
    let size = (members.len() / (slots.max(1) * HEAD_PARTS)).clamp(1, MAX_RUN);
    for part in members.chunks(size) {
        let us = part.iter().map(|&i| times[i as usize]).sum();
        out.push(Draft { members: part.to_vec(), us, cost: setup_cost(part, tests, costs), whole: false });
    }
}

/// Cuts one stretch where the gain exceeds the repeated set-up; long tests stand alone.
fn cut(
    Stretch { members, whole, .. }: Stretch,
    tests: &[Known<'_>],
    times: &[Option<u64>],
    costs: &SetupCosts,
    share: u64,
    keep: Keep,
    out: &mut Vec<Draft>,
) {
    let cost = setup_cost(&members, tests, costs);
    let sum = |m: &[u32]| m.iter().map(|&i| times[i as usize]).sum::<Option<u64>>();
    let known = sum(&members);
    if whole || known.is_none() {
        for part in members.chunks(if whole { usize::MAX } else { MAX_RUN }) {
            out.push(Draft { members: part.to_vec(), us: sum(part), cost, whole });
        }
        return;
    }
    let target = (share / LONG_SHARE).max(cost.unwrap_or(0) * 2).max(SHORT_RUN_US);
    let (mut part, mut part_us) = (Vec::new(), 0);
    for member in members {
        let us = times[member as usize].unwrap_or(0);
        if us >= target {
            if keep == Keep::Order && !part.is_empty() {
                out.push(Draft {
                    members: std::mem::take(&mut part),
                    us: Some(std::mem::take(&mut part_us)),
                    cost,
                    whole,
                });
            }
            out.push(Draft { members: vec![member], us: Some(us), cost, whole });
            continue;
        }
        part.push(member);
        part_us += us;
        if part_us >= target || part.len() == MAX_RUN {
            out.push(Draft { members: std::mem::take(&mut part), us: Some(part_us), cost, whole });
            part_us = 0;
        }
    }
    if !part.is_empty() {
        out.push(Draft { members: part, us: Some(part_us), cost, whole });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(file: &'static str, us: Option<u64>) -> Known<'static> {
        Known { file, scope: file, group: None, us, first: false }
    }

    fn covers_all(plan: &Plan, n: usize) {
        let mut seen = plan.order.clone();
        seen.sort_unstable();
        assert_eq!(seen, (0..u32::try_from(n).unwrap()).collect::<Vec<_>>());
        assert_eq!(plan.runs.iter().map(|r| r.count as usize).sum::<usize>(), n);
    }

    #[test]
    fn a_long_test_last_in_its_file_comes_first() {
        let mut tests = vec![known("a", Some(1_000)); 100];
        tests.push(known("a", Some(4_000_000)));
        let plan = plan(&tests, &SetupCosts::new(), 2, Keep::Free);
        assert_eq!(plan.order[0], 100);
        covers_all(&plan, 101);
    }

    #[test]
    fn collection_order_is_kept_where_it_must_be() {
        let tests = [
            known("a", Some(1_000)),
            known("a", Some(4_000_000)),
            known("a", None),
            known("b", Some(9_000_000)),
            known("a", None),
        ];
        let plan = plan(&tests, &SetupCosts::new(), 2, Keep::Order);
        assert_eq!(plan.order, [0, 1, 2, 3, 4]);
        assert!(plan.runs.len() > 1 && plan.runs.iter().all(|r| !r.whole));
    }

    #[test]
    fn a_suite_for_one_slot_is_one_run_whatever_is_known() {
        let mut tests = vec![known("a", Some(1_000)), known("b", Some(4_000_000)), known("a", Some(2_000_000))];
        (tests[0].group, tests[2].group) = (Some("g"), Some("g"));
        let plan = plan(&tests, &SetupCosts::new(), 2, Keep::All);
        assert_eq!(plan.order, [0, 1, 2]);
        assert_eq!(plan.runs.iter().map(|r| (r.count, r.whole)).collect::<Vec<_>>(), [(3, true)]);
    }

    #[test]
    fn what_comes_first_does_so_in_its_order_and_on_all_slots() {
        let mut tests =
            [known("b", Some(1_000)), known("a", Some(9_000)), known("a", Some(5_000)), known("b", Some(4_000_000))];
        (tests[0].first, tests[1].first) = (true, true);
        let free = plan(&tests, &SetupCosts::new(), 2, Keep::Free);
        assert_eq!(free.order, [0, 1, 3, 2]);
        assert_eq!(free.runs.iter().map(|r| r.count).collect::<Vec<_>>(), [1, 1, 1, 1]);
        tests[0].first = false;
        let files = plan(&tests, &SetupCosts::new(), 2, Keep::File);
        assert_eq!(files.order, [1, 2, 0, 3]);
    }

    #[test]
    fn a_module_with_dear_fixtures_is_not_cut_for_little() {
        let tests = vec![known("a", Some(100_000)); 10];
        let costs = SetupCosts::from([("a".to_owned(), 2_000_000)]);
        let plan = plan(&tests, &costs, 2, Keep::Free);
        assert_eq!(plan.runs.len(), 1);
        assert_eq!(plan.runs[0].cost, 2_000_000);
    }

    #[test]
    fn without_history_modules_stay_in_collection_order() {
        let tests = [known("a", None), known("a", None), known("b", None)];
        let plan = plan(&tests, &SetupCosts::new(), 2, Keep::Free);
        assert_eq!(plan.order, [0, 1, 2]);
        assert_eq!(plan.runs.iter().map(|r| (r.count, r.us)).collect::<Vec<_>>(), [(2, -1), (1, -1)]);
    }

    #[test]
    fn what_must_stay_whole_is_gathered() {
        let tests = [known("a", None), known("b", None), known("a", None)];
        let plan = plan(&tests, &SetupCosts::new(), 2, Keep::File);
        assert_eq!(plan.order, [0, 2, 1]);
        assert!(plan.runs.iter().all(|r| r.whole));
    }

    #[test]
    fn a_group_of_the_suite_is_gathered_over_files_and_nothing_else_is() {
        let mut tests = [known("a", None), known("a", None), known("b", None), known("b", None)];
        (tests[0].group, tests[3].group) = (Some("a"), Some("a"));
        let plan = plan(&tests, &SetupCosts::new(), 2, Keep::Free);
        assert_eq!(plan.order, [0, 3, 1, 2]);
        assert_eq!(
            plan.runs.iter().map(|r| (r.count, r.whole)).collect::<Vec<_>>(),
            [(2, true), (1, false), (1, false)]
        );
    }

    #[test]
    fn an_unknown_test_counts_as_its_file() {
        let tests = [known("a", Some(10)), known("b", Some(90_000)), known("b", None)];
        let plan = plan(&tests, &SetupCosts::new(), 1, Keep::Free);
        assert_eq!(plan.order[0], 1);
        covers_all(&plan, 3);
    }
}
