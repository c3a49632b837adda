//! `--html`: one file to look at in a browser, without anything beside it: summary, failures with their output, when
//! each slot ran what, workers, and a list of tests to sort and search. Facts in; `page` has the looks.

mod page;
mod rows;
mod timeline;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, FixedOffset};
use remuda_protocol::outcome::Outcome;
use remuda_protocol::spec::{GroupKind, JobSpec};

use super::workers::Workers;
use super::{Attempt, Fact, Reporter, Summary, rerun, whole};
use rows::Rows;
use timeline::{Timeline, badness};

/// A result that is told so long after the run's end is told again.
const TOLD_AGAIN: Duration = Duration::from_secs(1);

/// A page being gathered.
pub struct Html {
    path: PathBuf,
    spec: Arc<JobSpec>,
    start: DateTime<FixedOffset>,
    rows: Rows,
    timeline: Timeline,
    workers: Workers,
    /// What went wrong besides tests: what it was, and its text.
    beside: Vec<(String, String)>,
    latest: Duration,
}

impl Html {
    /// A page that will be written to `path`, of a run that began at `start`.
    #[must_use]
    pub fn new(path: PathBuf, spec: Arc<JobSpec>, start: DateTime<FixedOffset>) -> Self {
        let (rows, timeline, workers) = (Rows::default(), Timeline::default(), Workers::default());
        Self { path, spec, start, rows, timeline, workers, beside: Vec::new(), latest: Duration::ZERO }
    }

    fn ended(&mut self, attempt: &Attempt, at: Duration) {
        self.latest = self.latest.max(if attempt.fence > 0 { at } else { Duration::ZERO });
        let to = u64::try_from(at.as_micros()).unwrap_or(u64::MAX);
        let spec = &self.spec;
        self.rows
            .push(attempt, to, || rerun::line(spec, attempt.task.0, attempt.task.1, &attempt.id).unwrap_or_default());
        self.timeline.push(attempt, to, badness(attempt));
    }

    fn write(&mut self, summary: &Summary) -> io::Result<()> {
        // what was told after the run had ended is a job told again: when its tests ran is not known
        if self.latest > summary.wall + TOLD_AGAIN {
            self.timeline.restack();
            self.rows.forget_times();
        }
        whole::write(&self.path, page::render(self, summary).as_bytes())
    }
}

impl Reporter for Html {
    fn joins_late(&mut self) {
        self.workers.join_late();
    }

    fn fact(&mut self, fact: &Fact, at: Duration) -> io::Result<()> {
        self.workers.fact(fact, at);
        match fact {
            Fact::Ended(attempt) if attempt.kind != GroupKind::Collect || attempt.outcome != Outcome::Passed => {
                self.ended(attempt, at);
            }
            Fact::Tried(attempt) => {
                self.timeline.push(attempt, u64::try_from(at.as_micros()).unwrap_or(u64::MAX), 2);
            }
            Fact::Host(report) => {
                let late = |(fixture, text): &(String, String)| {
                    (format!("late teardown of {fixture} on {}", report.host), text.clone())
                };
                self.beside.extend(report.late.iter().map(late));
                if !report.failed.is_empty() {
                    self.beside.push((format!("end of the session on {}", report.host), report.failed.clone()));
                }
            }
            Fact::Finished(summary) => self.write(summary)?,
            _ => {}
        }
        Ok(())
    }

    fn name(&self) -> &'static str {
        "the page"
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Place;
    use crate::report::testing::{attempt, failed, spec};

    fn written(attempts: impl Iterator<Item = Attempt>) -> String {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("page.html");
        let mut html = Html::new(path.clone(), spec("pytest"), DateTime::UNIX_EPOCH.fixed_offset());
        for (n, attempt) in attempts.enumerate() {
            html.fact(&Fact::Ended(attempt), Duration::from_micros(n as u64 * 100)).unwrap();
        }
        let summary = Summary { noun: "test", counts: [3, 1, 0, 0, 0, 0, 0], exit: 1, ..Summary::default() };
        html.fact(&Fact::Finished(summary), Duration::from_secs(9)).unwrap();
        std::fs::read_to_string(path).unwrap()
    }

    #[test]
    fn whatever_a_test_is_called_or_prints_stays_text() {
        let evil = "t.py::x[</script><script>alert(1)</script>]";
        let mut bad = failed(evil);
        bad.detail.text = "<img src=x onerror=alert(2)> {{data}} &amp;".into();
        let page = written([bad].into_iter());
        assert!(!page.contains("<script>alert") && !page.contains("<img"), "{page}");
        assert!(page.contains("&lt;img src=x onerror=alert(2)&gt; {{data}} &amp;amp;"), "{page}");
        assert_eq!(page.matches("</script>").count(), 2, "the data and the code");
    }

    #[test]
    fn the_page_needs_nothing_from_outside() {
        let page = written([failed("t.py::a")].into_iter());
        for outside in ["http://", "https://", "src=", "@import", "url("] {
            assert!(!page.contains(outside), "{outside}");
        }
        assert!(page.contains("prefers-color-scheme: dark") && page.contains("4 tests: 3 passed, 1 failed"), "{page}");
    }

    #[test]
    fn the_data_is_json_that_the_list_and_the_timeline_are_made_of() {
        let on = |slot: &str| Some(Place { worker: "w".into(), host: "lab1".into(), slot: slot.into(), number: 0 });
        let page =
            written(["0", "1"].into_iter().map(|slot| Attempt { place: on(slot), ..attempt(slot, Outcome::Passed) }));
        let from = page.find(r#"id="data">"#).unwrap() + r#"id="data">"#.len();
        let text = &page[from..from + page[from..].find("</script>").unwrap()];
        let data: serde_json::Value = serde_json::from_str(text).unwrap();
        assert_eq!(data["tests"].as_array().unwrap().len(), 2);
        assert_eq!((&data["slots"][1][0], &data["slots"][1][1][0][3]), (&"lab1/1".into(), &1.into()));
    }

    #[test]
    fn a_hundred_thousand_tests_make_a_page_of_a_few_megabytes() {
        let tests = (0..100_000_u64).map(|n| {
            let id = format!("tests/some/folder/test_module_{}.py::TestClass::test_number_{n}", n % 97);
            let test = if n % 50 == 0 { failed(&id) } else { attempt(&id, Outcome::Passed) };
            let place = Place { worker: "w".into(), host: "lab".into(), slot: (n % 16).to_string(), number: 0 };
            Attempt { us: 90 + n % 1_000, place: Some(place), ..test }
        });
        let page = written(tests);
        assert!(page.len() < 8 << 20, "{} bytes", page.len());
    }
}
