//! A job once more, with only what did not pass: `remuda retry` and `remuda run --last-failed`. Pure.

use std::collections::{BTreeMap, BTreeSet};

use remuda_protocol::spec::{GroupKind, GroupSpec, JobSpec};

use super::{Feed, Items, Plan};

/// Ids that did not pass, by group name. Of a group that is not there nothing is known: all of it is meant.
pub type Unpassed = BTreeMap<String, BTreeSet<String>>;

/// The plan with only those tests, and only the groups that they need; `None` if there is nothing to do. Groups of
/// tests that passed are not needed any more; what is provisioned is.
#[must_use]
pub fn narrow(plan: Plan, unpassed: &Unpassed) -> Option<Plan> {
    let kept = kept(&plan.spec.groups, unpassed);
    if kept.is_empty() {
        return None;
    }
    let number = |old: u32| kept.iter().position(|&k| k == old).and_then(|at| u32::try_from(at).ok());
    let of = |group: &GroupSpec| unpassed.get(&group.name);
    let groups: Vec<GroupSpec> = kept
        .iter()
        .map(|&old| {
            let group = &plan.spec.groups[old as usize];
            let collected = plan.spec.groups.iter().any(|g| g.collects == Some(old));
            GroupSpec {
                needs: group.needs.iter().filter_map(|&need| number(need)).collect(),
                collects: group.collects.and_then(number),
                only: of(group).filter(|_| collected).into_iter().flatten().cloned().collect(),
                ..group.clone()
            }
        })
        .collect();
    let mut feeds = Vec::new();
    for feed in &plan.feeds {
        let Some(group) = number(feed.group) else { continue };
        let lane = groups[..group as usize].iter().map(|g| g.lanes.len()).sum::<usize>();
        let wanted = of(&groups[group as usize]);
        let items = match &feed.items {
            Items::Known(ids) if groups[group as usize].kind == GroupKind::Tests => {
                Items::Known(ids.iter().filter(|id| wanted.is_none_or(|w| w.contains(*id))).cloned().collect())
            }
            items => items.clone(),
        };
        feeds.push(Feed { group, lane: u32::try_from(lane).unwrap_or(u32::MAX), items });
    }
    Some(Plan { spec: JobSpec { groups, ..plan.spec }, feeds })
}

/// Numbers of the groups that are wanted, in order.
fn kept(groups: &[GroupSpec], unpassed: &Unpassed) -> Vec<u32> {
    let wanted = |g: &GroupSpec| g.kind == GroupKind::Tests && unpassed.get(&g.name).is_none_or(|ids| !ids.is_empty());
    let mut kept: BTreeSet<u32> = (0..).zip(groups).filter(|(_, g)| wanted(g)).map(|(n, _)| n).collect();
    let collectors: Vec<u32> =
        (0..).zip(groups).filter(|(_, g)| g.collects.is_some_and(|t| kept.contains(&t))).map(|(n, _)| n).collect();
    kept.extend(collectors);
    let mut open: Vec<u32> = kept.iter().copied().collect();
    while let Some(group) = open.pop() {
        for &need in &groups[group as usize].needs {
            if groups[need as usize].kind == GroupKind::Provision && kept.insert(need) {
                open.push(need);
            }
        }
    }
    kept.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::tests::plan_of;

    /// What did not pass in one group; all of the others did.
    fn unpassed(group: &str, ids: &[&str]) -> Unpassed {
        let mut known = Unpassed::from([("lint".to_owned(), BTreeSet::new()), ("web".to_owned(), BTreeSet::new())]);
        known.insert(group.to_owned(), ids.iter().map(ToString::to_string).collect());
        known
    }

    const FILE: &str = "[groups.db]\nup = \"./up\"\n[groups.lint]\nadapter = \"command\"\ncommand = \"lint {item}\"\nitems = [\"a\", \"b\", \"c\"]\n\
        [groups.web]\nadapter = \"pytest\"\nneeds = [\"db\", \"lint\"]\n";

    #[test]
    fn only_what_did_not_pass_is_left_with_what_it_needs() {
        let plan = narrow(plan_of(FILE, Default::default()).unwrap(), &unpassed("web", &["t.py::a"])).unwrap();
        let names: Vec<&str> = plan.spec.groups.iter().map(|g| g.name.as_str()).collect();
        assert_eq!(names, ["db", "web@collect", "web"]);
        assert_eq!((plan.spec.groups[2].needs.as_slice(), plan.spec.groups[1].collects), (&[0][..], Some(2)));
        assert_eq!(plan.spec.groups[2].only, ["t.py::a"]);
        assert_eq!(plan.feeds.iter().map(|f| (f.group, f.lane)).collect::<Vec<_>>(), [(0, 0), (1, 1)]);
        assert_eq!(plan.spec.check(), Ok(()));
    }

    #[test]
    fn known_items_are_chosen_among() {
        let plan = narrow(plan_of(FILE, Default::default()).unwrap(), &unpassed("lint", &["b", "gone"])).unwrap();
        assert_eq!(plan.feeds, [Feed { group: 0, lane: 0, items: Items::Known(vec!["b".into()]) }]);
    }

    #[test]
    fn nothing_failed_is_nothing_to_do() {
        assert_eq!(narrow(plan_of(FILE, Default::default()).unwrap(), &unpassed("web", &[])), None);
    }

    #[test]
    fn what_is_not_known_runs_whole() {
        let plan = plan_of(FILE, Default::default()).unwrap();
        assert_eq!(narrow(plan.clone(), &Unpassed::new()), Some(plan.clone()));
        let mut known = unpassed("web", &[]);
        known.remove("web");
        let some = narrow(plan, &known).unwrap();
        let names: Vec<&str> = some.spec.groups.iter().map(|g| g.name.as_str()).collect();
        assert_eq!(names, ["db", "web@collect", "web"]);
        assert!(some.spec.groups[2].only.is_empty());
    }
}
