//! Why what is ready does not run: gates, labels, drained workers, locks, other people. Pure.

use remuda_protocol::spec::JobSpec;
use remuda_store::{JobSnapshot, Pool};

use super::Worker;
use crate::follow::fit::{able, lack, reasons};

/// Why the tasks of a group wait, in a sentence without a subject; `None` if none wait.
#[must_use]
pub fn why(spec: &JobSpec, state: &JobSnapshot, group: u32, workers: &[Worker], pools: &[Pool]) -> Option<String> {
    let (own, now) = (&spec.groups[group as usize], state.groups.get(group as usize)?);
    if now.state == "waiting" {
        return Some(needs(spec, state, &own.needs));
    }
    if now.ready == 0 {
        return None;
    }
    let books: Vec<_> = workers.iter().map(|w| w.books.clone()).collect();
    let able = able(&books, &state.refusals);
    let answering: Vec<_> = workers.iter().filter(|w| w.silent.is_none()).map(|w| w.books.clone()).collect();
    for lane in &own.lanes {
        if let Some(lack) = lack(&lane.labels, &books) {
            return Some(format!("no worker {}", lack.predicate("it")));
        }
        if lack(&lane.labels, &able).is_some() {
            return Some(format!("no worker that fits can run it: {}", reasons(&books, &state.refusals)));
        }
        if lack(&lane.labels, &answering).is_some() {
            let silent: Vec<String> = workers.iter().filter_map(Worker::silence).collect();
            return Some(format!("no worker that fits answers: {}", silent.join(", ")));
        }
        for (pool, &wanted) in &lane.locks {
            if let Some(pool) = pools.iter().find(|p| p.name == *pool).filter(|p| p.free < wanted) {
                return Some(format!(
                    "{} of pool `{}` free, {wanted} wanted{}",
                    pool.free,
                    pool.name,
                    holders(pool, workers)
                ));
            }
        }
    }
    let (slots, busy) = workers
        .iter()
        .filter(|w| !w.books.drain && w.silent.is_none())
        .fold((0, 0), |sum, w| (sum.0 + w.books.slots as usize, sum.1 + w.running.len()));
    if busy >= slots {
        return Some(format!("all {slots} slots are busy{}", others(spec, workers)));
    }
    Some("a slot takes it next".into())
}

fn needs(spec: &JobSpec, state: &JobSnapshot, needs: &[u32]) -> String {
    let open: Vec<String> = needs
        .iter()
        .filter(|&&need| state.groups.get(need as usize).is_some_and(|g| g.state != "succeeded"))
        .map(|&need| format!("`{}`, which is {}", spec.groups[need as usize].name, state.groups[need as usize].state))
        .collect();
    format!("needs {}", open.join(" and "))
}

fn holders(pool: &Pool, workers: &[Worker]) -> String {
    let held: Vec<String> = workers
        .iter()
        .flat_map(|w| w.running.iter().map(move |r| (w, r)))
        .filter_map(|(w, r)| Some(format!("{} by {}/{}", r.locks.get(&pool.name)?.join("+"), w.name, r.slot)))
        .collect();
    if held.is_empty() { String::new() } else { format!(": {}", held.join(", ")) }
}

fn others(spec: &JobSpec, workers: &[Worker]) -> String {
    let foreign = workers.iter().flat_map(|w| &w.running).filter(|r| r.job != spec.id).count();
    if foreign == 0 { String::new() } else { format!(", {foreign} of them with other jobs") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::tests::plan_of;
    use crate::overview::RunningTask;
    use remuda_store::{GroupSnapshot, Refusal, WorkerSnapshot};

    const FILE: &str = "[pools.boards]\nitems = [\"b1\"]\n[groups.db]\nup = \"./up\"\n\
        [groups.hw]\nadapter = \"command\"\ncommand = \"run {item}\"\nitems = [\"a\"]\nneeds = [\"db\"]\nlocks = { boards = 1 }\nlabels = [\"lab\"]\n";

    fn state(db: &str, hw: &str, ready: u32) -> JobSnapshot {
        let group = |state: &str, ready| GroupSnapshot { state: state.into(), ready, ..GroupSnapshot::default() };
        JobSnapshot { groups: vec![group(db, 0), group(hw, ready)], ..JobSnapshot::default() }
    }

    fn worker(labels: &str, running: Vec<RunningTask>) -> Worker {
        let books = WorkerSnapshot { labels: labels.into(), slots: 1, ..WorkerSnapshot::default() };
        Worker { books, name: "lab1".into(), running, ..Worker::default() }
    }

    #[test]
    fn each_reason_is_named() {
        let spec = plan_of(FILE, Default::default()).unwrap().spec;
        let boards = |free| vec![Pool { name: "boards".into(), items: vec!["b1".into()], free }];
        let why = |state: &JobSnapshot, workers: &[Worker], free| super::why(&spec, state, 1, workers, &boards(free));
        assert_eq!(why(&state("open", "waiting", 1), &[], 1).unwrap(), "needs `db`, which is open");
        let ready = state("succeeded", "sealed", 1);
        assert_eq!(why(&ready, &[], 1).unwrap(), "no worker is there that takes work");
        assert_eq!(why(&ready, &[worker("", vec![])], 1).unwrap(), "no worker has the label `lab`");
        let mut drained = worker("lab", vec![]);
        drained.books.drain = true;
        assert_eq!(
            why(&ready, &[drained, worker("", vec![])], 1).unwrap(),
            "no worker takes it: 1 worker that fits is drained; `remuda workers resume --all` brings it back"
        );
        let locks = [("boards".to_owned(), vec!["b1".to_owned()])].into();
        let holder = RunningTask { job: "other".into(), locks, ..RunningTask::default() };
        let busy = worker("lab", vec![holder]);
        assert_eq!(
            why(&ready, std::slice::from_ref(&busy), 0).unwrap(),
            "0 of pool `boards` free, 1 wanted: b1 by lab1/0"
        );
        assert_eq!(why(&ready, &[busy], 1).unwrap(), "all 1 slots are busy, 1 of them with other jobs");
        assert_eq!(why(&ready, &[worker("lab", vec![])], 1).unwrap(), "a slot takes it next");
        let refusals = vec![Refusal { reason: "lab1 has no tree".into(), ..Refusal::default() }];
        let refused = JobSnapshot { refusals, ..ready };
        assert_eq!(
            why(&refused, &[worker("lab", vec![])], 1).unwrap(),
            "no worker that fits can run it: lab1 has no tree"
        );
        assert_eq!(why(&state("succeeded", "sealed", 0), &[], 1), None);
    }
}
