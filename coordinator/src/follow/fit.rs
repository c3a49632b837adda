//! Why nobody works: which labels no worker has, who is drained, and who has stepped aside; and how long that is
//! suffered. All but `Run`'s part is pure.

use std::time::Instant;

use remuda_protocol::spec::JobSpec;
use remuda_store::{Refusal, WorkerSnapshot};

use super::attached::Run;
use super::view::JobView;
use crate::error::Error;

impl Run {
    /// Sees whether anybody can work, says what is missing, and gives up in time.
    pub(super) async fn look_for_workers(&mut self) -> Result<(), Error> {
        let workers = self.store.workers().await;
        let Some(workers) = self.tolerate(workers)? else { return Ok(()) };
        let refusals = self.store.refusals(&self.spec.id).await;
        let Some(refusals) = self.tolerate(refusals)? else { return Ok(()) };
        let (farm, address) = (self.store.farm(), self.store.address());
        self.waiting = why_nobody(&self.spec, &self.view, &workers, &refusals, farm, address).unwrap_or_default();
        if self.waiting.is_empty() {
            self.unfit_since = None;
            return Ok(());
        }
        let since = *self.unfit_since.get_or_insert_with(Instant::now);
        let may = self.options.role.owns() || self.options.gives_up;
        if since.elapsed() < self.options.queue_timeout || !may {
            return Ok(());
        }
        self.evidence.gave_up.clone_from(&self.waiting);
        let cancelled = self.store.cancel(&self.spec.id, "queue-timeout", None).await;
        self.tolerate(cancelled).map(drop)
    }
}

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
            lack(&lane.labels, &able)?; // somebody can
            let name = &spec.groups[g].name;
            why = why.or(Some(match lack(&lane.labels, workers) {
                Some(lack) => sentence(name, &lack, farm, address),
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

/// What keeps every worker from tasks with some labels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lack {
    /// There is no worker.
    Workers,
    /// So many fit, and all of them are drained.
    Service(usize),
    /// No worker has these labels.
    Labels(Vec<String>),
    /// Each of these labels is there, but not all at one worker.
    Together(Vec<String>),
}

impl Lack {
    /// What no worker does or has, after `no worker` or `none`; `what`: what it would take.
    #[must_use]
    pub fn predicate(&self, what: &str) -> String {
        let quoted = |names: &[String]| names.iter().map(|n| format!("`{n}`")).collect::<Vec<_>>().join(", ");
        match self {
            Self::Workers => "is there that takes work".into(),
            Self::Service(1) => {
                format!("takes {what}: 1 worker that fits is drained; `remuda workers resume --all` brings it back")
            }
            Self::Service(n) => format!(
                "takes {what}: {n} workers that fit are drained; `remuda workers resume --all` brings them back"
            ),
            Self::Labels(names) if names.len() == 1 => format!("has the label {}", quoted(names)),
            Self::Labels(names) => format!("has the labels {}", quoted(names)),
            Self::Together(names) => format!("has all of the labels {}", quoted(names)),
        }
    }
}

/// What is lacking for tasks with these labels; `None` if a worker takes them.
#[must_use]
pub fn lack(wanted: &[String], workers: &[WorkerSnapshot]) -> Option<Lack> {
    let has = |worker: &WorkerSnapshot, label: &String| worker.labels.split(',').any(|own| own == label);
    // nobody brings back who is leaving
    let workers: Vec<_> = workers.iter().filter(|w| !w.leaving).collect();
    let fitting: Vec<_> = workers.iter().filter(|w| wanted.iter().all(|label| has(w, label))).collect();
    if fitting.iter().any(|w| !w.drain) {
        return None;
    }
    if workers.is_empty() {
        return Some(Lack::Workers);
    }
    if !fitting.is_empty() {
        return Some(Lack::Service(fitting.len()));
    }
    let nowhere: Vec<String> = wanted.iter().filter(|l| !workers.iter().any(|w| has(w, l))).cloned().collect();
    Some(if nowhere.is_empty() { Lack::Together(wanted.to_vec()) } else { Lack::Labels(nowhere) })
}

/// The line that starts a worker on a farm.
#[must_use]
pub fn start_line(farm: &str, address: &str) -> String {
    let named = if farm == "default" { String::new() } else { format!(" --farm {farm}") };
    format!("remuda worker --redis {address}{named}")
}

fn sentence(group: &str, lack: &Lack, farm: &str, address: &str) -> String {
    match lack {
        Lack::Workers => {
            let start = start_line(farm, address);
            format!("no worker is on farm `{farm}` at {address}; start one there with `{start}`")
        }
        Lack::Service(_) => format!(
            "no worker {}, `{}` starts another",
            lack.predicate(&format!("group `{group}`")),
            start_line(farm, address)
        ),
        Lack::Labels(names) | Lack::Together(names) => format!(
            "no worker fits group `{group}`: none {}; start one with `remuda worker --label …`, or take {} away",
            lack.predicate(""),
            if names.len() == 1 { "the label" } else { "a label" }
        ),
    }
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
        assert_eq!(lack(&[], &able(&workers, &refusals)), Some(Lack::Workers), "nobody is left");
        assert_eq!(reasons(&workers, &refusals), "a has no tree; b has no tree");
        let workers = [lab("a", 7), lab("b", 8)];
        assert_eq!(lack(&[], &able(&workers, &refusals)), None);
    }

    fn names(labels: &[&str]) -> Vec<String> {
        labels.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_label_that_is_missing_is_named() {
        let wanted = names(&["arm64", "gpu"]);
        let gpu = Lack::Labels(names(&["gpu"]));
        assert_eq!(lack(&wanted, &[worker("arm64,big", false), worker("", false)]), Some(gpu.clone()));
        assert_eq!(lack(&wanted, &[worker("arm64", true)]), Some(gpu.clone()), "drained or not");
        assert_eq!(lack(&wanted, &[worker("arm64,gpu", false)]), None);
        assert_eq!(
            sentence("web", &gpu, "lab", "redis://r"),
            "no worker fits group `web`: none has the label `gpu`; start one with `remuda worker --label …`, or take the label away"
        );
        assert_eq!(lack(&[], &[]), Some(Lack::Workers));
        assert_eq!(
            sentence("web", &Lack::Workers, "lab", "redis://r"),
            "no worker is on farm `lab` at redis://r; start one there with `remuda worker --redis redis://r --farm lab`"
        );
    }

    #[test]
    fn labels_that_are_there_but_never_together_are_not_called_missing() {
        let wanted = names(&["a", "b"]);
        let apart = lack(&wanted, &[worker("a", false), worker("b", false)]).unwrap();
        assert_eq!(apart, Lack::Together(wanted));
        assert_eq!(
            sentence("web", &apart, "lab", "redis://r"),
            "no worker fits group `web`: none has all of the labels `a`, `b`; start one with `remuda worker --label …`, or \
             take a label away"
        );
    }
    #[test]
    fn workers_that_fit_and_are_drained_are_counted_and_not_denied() {
        let wanted = names(&["arm64"]);
        let drained = lack(&wanted, &[worker("arm64", true), worker("arm64,big", true), worker("", false)]).unwrap();
        assert_eq!(drained, Lack::Service(2));
        assert_eq!(
            sentence("web", &drained, "lab", "redis://r"),
            "no worker takes group `web`: 2 workers that fit are drained; `remuda workers resume --all` brings them back, \
             `remuda worker --redis redis://r --farm lab` starts another"
        );
        assert_eq!(lack(&[], &[worker("", true)]), Some(Lack::Service(1)));
    }
}
