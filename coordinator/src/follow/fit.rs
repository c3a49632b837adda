//! Why nobody works: which labels no worker has, and who has stepped aside. Pure.

use remuda_protocol::spec::JobSpec;
use remuda_store::{Refusal, WorkerSnapshot};

use super::view::JobView;

/// Why no worker that is there can take what waits; `None` if one can, or nothing waits.
#[must_use]
pub fn why_nobody(
    spec: &JobSpec,
    view: &JobView,
    workers: &[WorkerSnapshot],
    refusals: &[Refusal],
    farm: &str,
    address: &str,
) -> Option<String> {
    let able = able(workers, refusals);
    let waits = |g: usize| {
        matches!(view.groups[g].state.as_str(), "open" | "collecting" | "sealed")
            && view.groups[g].added > view.groups[g].done()
    };
    let mut why = None;
    for g in (0..spec.groups.len()).filter(|g| waits(*g)) {
        for lane in &spec.groups[g].lanes {
            missing(&lane.labels, &able)?; // somebody can
            let name = &spec.groups[g].name;
            why = why.or(Some(match missing(&lane.labels, workers) {
                Some(labels) => sentence(name, &labels, workers, farm, address),
                None => format!("no worker is left for group `{name}`: {}", reasons(workers, refusals)),
            }));
        }
    }
    why
}

/// Whether a worker has refused the job since it came to the farm.
#[must_use]
pub fn refused(worker: &WorkerSnapshot, refusals: &[Refusal]) -> bool {
    refusals.iter().any(|r| r.worker == worker.id && r.joined_ms == worker.joined_ms)
}

/// The workers that have not refused.
#[must_use]
pub fn able(workers: &[WorkerSnapshot], refusals: &[Refusal]) -> Vec<WorkerSnapshot> {
    workers.iter().filter(|w| !refused(w, refusals)).cloned().collect()
}

/// Why those that have refused cannot run the job, each reason once.
#[must_use]
pub fn reasons(workers: &[WorkerSnapshot], refusals: &[Refusal]) -> String {
    let there = |r: &&Refusal| workers.iter().any(|w| refused(w, std::slice::from_ref(*r)));
    let mut reasons: Vec<&str> = refusals.iter().filter(there).map(|r| r.reason.as_str()).collect();
    reasons.sort_unstable();
    reasons.dedup();
    reasons.join("; ")
}

/// The labels that the best of the workers lacks; `None` if one lacks nothing.
#[must_use]
pub fn missing(wanted: &[String], workers: &[WorkerSnapshot]) -> Option<Vec<String>> {
    let lacks = |worker: &WorkerSnapshot| -> Vec<String> {
        let has: Vec<&str> = worker.labels.split(',').collect();
        wanted.iter().filter(|label| !has.contains(&label.as_str())).cloned().collect()
    };
    let best = workers.iter().filter(|w| !w.drain).map(lacks).min_by_key(Vec::len);
    match best {
        Some(labels) if labels.is_empty() => None,
        Some(labels) => Some(labels),
        None => Some(wanted.to_vec()),
    }
}

fn sentence(group: &str, labels: &[String], workers: &[WorkerSnapshot], farm: &str, address: &str) -> String {
    if workers.iter().all(|w| w.drain) {
        return format!(
            "no worker is on farm `{farm}` at {address}; start one there with `remuda worker --redis {address}`"
        );
    }
    let names: Vec<String> = labels.iter().map(|l| format!("`{l}`")).collect();
    let s = if labels.len() == 1 { "" } else { "s" };
    format!(
        "no worker fits group `{group}`: none has the label{s} {}; start one with `remuda worker --label …`, or take the label away",
        names.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn worker(labels: &str, drain: bool) -> WorkerSnapshot {
        WorkerSnapshot { labels: labels.into(), drain, ..WorkerSnapshot::default() }
    }

    #[test]
    fn those_who_have_stepped_aside_are_named_until_they_come_anew() {
        let lab = |id: &str, joined_ms| WorkerSnapshot { id: id.into(), joined_ms, ..worker("", false) };
        let said = |worker: &str, reason: &str| Refusal { worker: worker.into(), joined_ms: 7, reason: reason.into() };
        let refusals = [said("a", "a has no tree"), said("b", "b has no tree"), said("gone", "it had no tree")];
        let workers = [lab("a", 7), lab("b", 7)];
        assert_eq!(missing(&[], &able(&workers, &refusals)), Some(vec![]), "nobody is left");
        assert_eq!(reasons(&workers, &refusals), "a has no tree; b has no tree");
        let workers = [lab("a", 7), lab("b", 8)];
        assert_eq!(missing(&[], &able(&workers, &refusals)), None);
    }

    #[test]
    fn the_label_that_is_missing_is_named() {
        let wanted = ["arm64".to_owned(), "gpu".to_owned()];
        assert_eq!(missing(&wanted, &[worker("arm64,big", false), worker("", false)]), Some(vec!["gpu".to_owned()]));
        assert_eq!(missing(&wanted, &[worker("arm64,gpu", true)]), Some(wanted.to_vec()));
        assert_eq!(missing(&wanted, &[worker("arm64,gpu", false)]), None);
        let text = sentence("web", &["gpu".to_owned()], &[worker("", false)], "lab", "redis://r");
        assert_eq!(
            text,
            "no worker fits group `web`: none has the label `gpu`; start one with `remuda worker --label …`, or take the label away"
        );
        let text = sentence("web", &[], &[], "lab", "redis://r");
        assert_eq!(
            text,
            "no worker is on farm `lab` at redis://r; start one there with `remuda worker --redis redis://r`"
        );
    }
}
