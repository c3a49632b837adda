//! `--events`: every fact as a line of JSON, for programs. Field names are a contract: add, never rename.

use std::io::{self, Write};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use remuda_protocol::outcome::{Detail, Outcome};
use serde::Serialize;
use serde_json::{Value, json};

use super::{Attempt, Fact, Place, Reporter};

/// A stream of lines.
pub struct Events<W: Write + Send> {
    out: W,
    start: DateTime<Utc>,
    /// How long the job took, if it is told again: nothing in it happened later.
    took: Option<Duration>,
}

impl<W: Write + Send> Events<W> {
    /// Lines for a run that began at `start`.
    pub fn new(out: W, start: DateTime<Utc>) -> Self {
        Self { out, start, took: None }
    }
}

impl<W: Write + Send> Reporter for Events<W> {
    fn fact(&mut self, fact: &Fact, at: Duration) -> io::Result<()> {
        let Some(what) = what(fact) else { return Ok(()) };
        let at = self.took.map_or(at, |took| at.min(took));
        let when = self.start + TimeDelta::from_std(at).unwrap_or_default();
        let time = when.to_rfc3339_opts(chrono::SecondsFormat::Millis, true);
        serde_json::to_writer(&mut self.out, &Line { what, at: at.as_secs_f64(), time })?;
        self.out.write_all(b"\n")?;
        if matches!(fact, Fact::Finished(_)) { self.out.flush() } else { Ok(()) }
    }

    fn is_over_after(&mut self, took: Duration) {
        self.took = Some(took);
    }

    /// Whoever reads along wants each fact when it is known, but not at the price of a write for each.
    fn settle(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    fn name(&self) -> &'static str {
        "the events"
    }
}

#[derive(Serialize)]
struct Line<'a> {
    #[serde(flatten)]
    what: What<'a>,
    at: f64,
    time: String,
}

/// Results are borrowed, since a job may have a million of them; whatever else happens is seldom.
#[derive(Serialize)]
#[serde(untagged)]
enum What<'a> {
    Result(ResultLine<'a>),
    Else(Value),
}

#[derive(Serialize)]
struct ResultLine<'a> {
    event: &'static str,
    group: &'a str,
    id: &'a str,
    task: u32,
    outcome: Outcome,
    us: u64,
    wide_us: u64,
    fence: u64,
    attempt: u32,
    flaky: bool,
    losses: u32,
    after: Option<&'a str>,
    detail: Option<&'a Detail>,
    #[serde(flatten)]
    place: Option<PlaceWords<'a>>,
}

#[derive(Serialize)]
struct PlaceWords<'a> {
    place: u32,
    worker: &'a str,
    host: &'a str,
    slot: &'a str,
}

fn what(fact: &Fact) -> Option<What<'_>> {
    let value = match fact {
        Fact::Began { job, name, redis, slots } => {
            json!({"event": "began", "job": job, "name": name, "redis": redis, "slots": slots})
        }
        Fact::Added { group, count } => json!({"event": "added", "group": &**group, "count": count}),
        Fact::Claimed { group, first, count, fence, place } => with_place(
            json!({"event": "claimed", "group": &**group, "first": first, "count": count, "fence": fence}),
            Some(place),
        ),
        Fact::Tried(attempt) => return Some(What::Result(result("attempt", attempt))),
        Fact::Ended(attempt) => return Some(What::Result(result("result", attempt))),
        Fact::Back { group, id, lost, fence, place } => {
            let event = if *lost { "lost" } else { "given-back" };
            with_place(json!({"event": event, "group": &**group, "id": &**id, "fence": fence}), place.as_ref())
        }
        Fact::Group { group, state, reason, tasks, .. } => {
            json!({"event": "group", "group": &**group, "state": state, "reason": reason, "tasks": tasks})
        }
        Fact::Job { state, reason } => json!({"event": "job", "state": state, "reason": reason}),
        Fact::Slow { group, id, age } => {
            json!({"event": "slow", "group": &**group, "id": &**id, "age_us": micros(*age)})
        }
        Fact::Host(report) => {
            json!({"event": "host", "host": report.host, "worker": report.worker, "summary": report.summary, "late": report.late, "failed": report.failed, "no_fork": report.no_fork, "stopped": report.stopped})
        }
        Fact::Note(text) => json!({"event": "note", "text": text}),
        Fact::Finished(s) => json!({
            "event": "finished", "exit": s.exit, "because": s.because, "total": s.total(), "passed": s.counts[0], "failed": s.counts[1],
            "errored": s.counts[2], "timed_out": s.counts[3], "lost": s.counts[4], "skipped": s.counts[5], "cancelled": s.counts[6],
            "flaky": s.flaky, "xfailed": s.xfailed, "late": s.late, "slots": s.slots, "workers": s.workers, "wall_us": micros(s.wall), "busy_us": s.busy_us,
            "longest_us": s.longest_us, "percent_of_ideal": s.percent_of_ideal(),
        }),
        Fact::Output { .. } => return None,
    };
    Some(What::Else(value))
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

fn result<'a>(event: &'static str, a: &'a Attempt) -> ResultLine<'a> {
    ResultLine {
        event,
        group: &a.group,
        id: &a.id,
        task: a.task.1,
        outcome: a.outcome,
        us: a.us,
        wide_us: a.wide_us,
        fence: a.fence,
        attempt: a.number,
        flaky: a.is_flaky(),
        losses: a.losses,
        after: a.after.as_deref(),
        detail: (a.detail != Detail::default()).then_some(&a.detail),
        place: a.place.as_ref().map(words),
    }
}

fn words(place: &Place) -> PlaceWords<'_> {
    PlaceWords { place: place.number, worker: &place.worker, host: &place.host, slot: &place.slot }
}

fn with_place(mut line: Value, place: Option<&Place>) -> Value {
    if let (Some(map), Some(place)) = (line.as_object_mut(), place) {
        map.insert("place".into(), json!(place.number));
        map.insert("worker".into(), json!(place.worker));
        map.insert("host".into(), json!(place.host));
        map.insert("slot".into(), json!(place.slot));
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::testing::failed;
    use remuda_protocol::outcome::Outcome;

    #[test]
    fn nothing_happens_after_the_end_of_a_job_that_is_told_again() {
        let mut out = Vec::new();
        let mut events = Events::new(&mut out, DateTime::UNIX_EPOCH);
        events.is_over_after(Duration::from_millis(1500));
        events.fact(&Fact::Ended(failed("t.py::test")), Duration::from_secs(7200)).unwrap();
        let line: Value = serde_json::from_slice(&out).unwrap();
        assert_eq!((&line["at"], &line["time"]), (&json!(1.5), &json!("1970-01-01T00:00:01.500Z")));
    }

    #[test]
    fn a_result_names_slot_worker_and_predecessor() {
        let mut out = Vec::new();
        let attempt = Attempt { earlier: vec![Outcome::Failed], number: 2, ..failed("t.py::test[\u{7}]") };
        Events::new(&mut out, DateTime::UNIX_EPOCH).fact(&Fact::Ended(attempt), Duration::from_millis(1500)).unwrap();
        let line: Value = serde_json::from_slice(&out).unwrap();
        let expect = [
            ("event", json!("result")),
            ("id", json!("t.py::test[\u{7}]")),
            ("outcome", json!("failed")),
            ("us", json!(12_345)),
            ("place", json!(2)),
            ("worker", json!("w-1")),
            ("host", json!("lab1")),
            ("slot", json!("0")),
            ("after", json!("t.py::before")),
            ("attempt", json!(2)),
            ("at", json!(1.5)),
            ("time", json!("1970-01-01T00:00:01.500Z")),
        ];
        for (key, value) in expect {
            assert_eq!(line[key], value, "{key}");
        }
        assert_eq!(out.iter().filter(|b| **b == b'\n').count(), 1);
    }
}
