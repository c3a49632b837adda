//! `--json`: the run's result as one JSON object, for programs that want the end and not the way. Field names are a
//! contract: add, never rename. The size is bounded; every fact is in `--events`.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use remuda_protocol::item::Item;
use remuda_protocol::outcome::Outcome;
use remuda_protocol::spec::{GroupKind, JobSpec};
use serde_json::{Value, json};

use super::workers::Workers;
use super::{Attempt, Fact, Reporter, Summary, rerun, whole};

/// Most failures, and most flaky tests, that are listed.
const LISTED: usize = 10_000;

/// A summary being gathered.
pub struct Json {
    path: PathBuf,
    spec: Arc<JobSpec>,
    workers: Workers,
    failures: Vec<Value>,
    flaky: Vec<Value>,
    /// What ran when the run was ended.
    unfinished: Vec<Value>,
    not_listed: usize,
}

impl Json {
    /// A summary that will be written to `path`; `-` is standard output.
    #[must_use]
    pub fn new(path: PathBuf, spec: Arc<JobSpec>) -> Self {
        let (failures, flaky, unfinished) = (Vec::new(), Vec::new(), Vec::new());
        Self { path, spec, workers: Workers::default(), failures, flaky, unfinished, not_listed: 0 }
    }

    fn ended(&mut self, attempt: &Attempt) {
        let bad = attempt.outcome.is_failure() || attempt.outcome == Outcome::Lost;
        let list = match (bad, attempt.is_flaky()) {
            (true, _) => &mut self.failures,
            (false, true) => &mut self.flaky,
            (false, false) if attempt.was_ended() => &mut self.unfinished,
            (false, false) => return,
        };
        if list.len() >= LISTED {
            self.not_listed += 1;
            return;
        }
        list.push(json!({
            "group": &*attempt.group, "id": Item::new(&attempt.id, 0).shown(), "outcome": attempt.outcome, "us": attempt.us,
            "attempt": attempt.number, "why": attempt.why(), "host": attempt.place.as_ref().map(|p| &p.host),
            "rerun": rerun::line(&self.spec, attempt.task.0, attempt.task.1, &attempt.id),
        }));
    }

    fn object(&self, s: &Summary) -> Value {
        let workers: Vec<Value> = self
            .workers
            .parts()
            .into_iter()
            .map(|p| {
                json!({
                    "host": p.host, "worker": p.worker, "slots": p.slots(), "tests": p.tests, "busy_us": p.busy_us, "lost": p.losses,
                    "first_us": p.first.map(|f| u64::try_from(f.as_micros()).unwrap_or(u64::MAX)),
                })
            })
            .collect();
        json!({
            "job": self.spec.id, "name": self.spec.name, "exit": s.exit, "because": s.because, "total": s.total(),
            "passed": s.counts[0], "failed": s.counts[1], "errored": s.counts[2], "timed_out": s.counts[3],
            "lost": s.counts[4], "skipped": s.counts[5], "cancelled": s.counts[6], "flaky": s.flaky, "xfailed": s.xfailed, "late": s.late,
            "wall_us": u64::try_from(s.wall.as_micros()).unwrap_or(u64::MAX), "busy_us": s.busy_us, "longest_us": s.longest_us,
            "slots": s.slots, "percent_of_ideal": s.percent_of_ideal(), "log": s.log, "workers": workers,
            "failures": self.failures, "flaky_tests": self.flaky, "unfinished": self.unfinished, "not_listed": self.not_listed,
        })
    }
}

impl Reporter for Json {
    fn fact(&mut self, fact: &Fact, at: Duration) -> io::Result<()> {
        self.workers.fact(fact, at);
        match fact {
            Fact::Ended(attempt) if attempt.kind != GroupKind::Collect || attempt.outcome != Outcome::Passed => {
                self.ended(attempt);
            }
            Fact::Finished(summary) => {
                let text = format!("{:#}\n", self.object(summary));
                whole::write(&self.path, text.as_bytes())?;
            }
            _ => {}
        }
        Ok(())
    }

    fn joins_late(&mut self) {
        self.workers.join_late();
    }

    fn name(&self) -> &'static str {
        "the JSON summary"
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::testing::{attempt, failed, spec_of_each};

    #[test]
    fn the_object_has_counts_failures_and_workers() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("summary.json");
        let mut json = Json::new(path.clone(), spec_of_each("test {}"));
        let flaky = Attempt { number: 2, earlier: vec![Outcome::Failed], ..attempt("f", Outcome::Passed) };
        let facts = [Fact::Ended(attempt("a", Outcome::Passed)), Fact::Ended(failed("b c")), Fact::Ended(flaky)];
        for fact in facts {
            json.fact(&fact, Duration::from_secs(1)).unwrap();
        }
        let summary = Summary { counts: [2, 1, 0, 0, 0, 0, 0], flaky: 1, exit: 1, ..Summary::default() };
        json.fact(&Fact::Finished(summary), Duration::from_secs(2)).unwrap();
        let value: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        assert_eq!((&value["total"], &value["exit"], &value["flaky"]), (&json!(3), &json!(1), &json!(1)));
        assert_eq!(value["failures"][0]["rerun"], "test 'b c'");
        assert_eq!(value["flaky_tests"][0]["id"], "f");
        assert_eq!((&value["workers"][0]["host"], &value["workers"][0]["tests"]), (&json!("lab1"), &json!(3)));
    }
}
