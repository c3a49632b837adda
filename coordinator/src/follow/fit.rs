//! Why nobody works: which labels no worker has. Pure.

use remuda_protocol::spec::JobSpec;
use remuda_store::WorkerSnapshot;

use super::view::JobView;

/// Why no worker that is there can take what waits; `None` if one can, or nothing waits.
#[must_use]
pub fn why_nobody(
    spec: &JobSpec,
    view: &JobView,
    workers: &[WorkerSnapshot],
    farm: &str,
    address: &str,
) -> Option<String> {
    let waits = |g: usize| {
        matches!(view.groups[g].state.as_str(), "open" | "collecting" | "sealed")
            && view.groups[g].added > view.groups[g].done()
    };
    let mut why = None;
    for g in (0..spec.groups.len()).filter(|g| waits(*g)) {
        for lane in &spec.groups[g].lanes {
            match missing(&lane.labels, workers) {
                None => return None,
                Some(labels) => why = why.or(Some(sentence(&spec.groups[g].name, &labels, workers, farm, address))),
            }
        }
    }
    why
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
