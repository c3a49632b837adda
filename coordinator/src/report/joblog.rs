//! `--joblog`: GNU parallel's table of the tasks that ended, a line for each as it ends; and what `--resume` reads of
//! one. What was cancelled, or never ran, has no line: a resumed run does it.

use std::collections::HashMap;
use std::io::{self, BufRead, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use remuda_protocol::item::Item;
use remuda_protocol::outcome::Outcome;
use remuda_protocol::spec::{GroupKind, JobSpec};

use super::{Attempt, Fact, Reporter, rerun};

/// The first line.
const HEAD: &str = "Seq\tHost\tStarttime\tJobRuntime\tSend\tReceive\tExitval\tSignal\tCommand";
/// What parallel logs of a task that it killed.
const KILLED: (i32, i32) = (-1, 15);

/// A log being written.
pub struct JobLog<W: Write + Send> {
    out: W,
    spec: Arc<JobSpec>,
    start: DateTime<Utc>,
    /// How long the job took, if it is told again: no task of it ended later.
    took: Option<Duration>,
    /// Where each slot is then: nobody wrote down when its tasks began, but one came after the other.
    slots: HashMap<(String, String), Duration>,
}

impl<W: Write + Send> JobLog<W> {
    /// A log of a run that began at `start`. `fresh`: it needs its first line.
    ///
    /// # Errors
    /// The file's.
    pub fn new(mut out: W, spec: Arc<JobSpec>, start: DateTime<Utc>, fresh: bool) -> io::Result<Self> {
        if fresh {
            out.write_all(format!("{HEAD}\n").as_bytes())?;
        }
        Ok(Self { out, spec, start, took: None, slots: HashMap::new() })
    }

    /// When an attempt began that is told now.
    fn begun(&mut self, attempt: &Attempt, at: Duration) -> Duration {
        let us = Duration::from_micros(attempt.us);
        let Some(took) = self.took else { return at.saturating_sub(us) };
        let slot = attempt.place.as_ref().map(|p| (p.worker.clone(), p.slot.clone())).unwrap_or_default();
        let next = self.slots.entry(slot).or_default();
        let begun = (*next).min(took.saturating_sub(us));
        *next = begun + us;
        begun
    }

    fn line(&mut self, attempt: &Attempt, at: Duration) -> String {
        let item = Item::new(&attempt.id, attempt.task.1);
        let host = attempt.place.as_ref().map_or(":", |p| if p.host == self.spec.tree.host { ":" } else { &p.host });
        let begun = self.begun(attempt, at);
        let begun = self.start + chrono::TimeDelta::from_std(begun).unwrap_or_default();
        let seconds = Duration::from_micros(attempt.us).as_secs_f64();
        let printed: usize = attempt.detail.printed().filter(|s| s.0 == "stdout").map(|s| s.1.len()).sum();
        let (exit, signal) = ended(attempt);
        let command = rerun::line(&self.spec, attempt.task.0, attempt.task.1, &attempt.id).unwrap_or_default();
        format!(
            "{}\t{host}\t{}.{:03}\t{seconds:10.3}\t0\t{printed}\t{exit}\t{signal}\t{}\n",
            item.number,
            begun.timestamp(),
            begun.timestamp_subsec_millis(),
            command.replace('\n', "\0")
        )
    }
}

/// Exit code and signal as parallel would log them.
fn ended(attempt: &Attempt) -> (i32, i32) {
    match (attempt.outcome, attempt.detail.exit, attempt.detail.signal) {
        (Outcome::TimedOut | Outcome::Lost, ..) => KILLED,
        (Outcome::Passed | Outcome::Skipped, ..) => (0, 0),
        (_, Some(exit), _) => (exit, 0),
        (_, None, Some(signal)) => (0, signal),
        (_, None, None) => (127, 0), // it could not be started
    }
}

impl<W: Write + Send> Reporter for JobLog<W> {
    fn fact(&mut self, fact: &Fact, at: Duration) -> io::Result<()> {
        match fact {
            Fact::Ended(attempt)
                if attempt.kind == GroupKind::Tests && attempt.fence > 0 && attempt.outcome != Outcome::Cancelled =>
            {
                let line = self.line(attempt, at);
                self.out.write_all(line.as_bytes())
            }
            Fact::Finished(_) => self.out.flush(),
            _ => Ok(()),
        }
    }

    fn is_over_after(&mut self, took: Duration) {
        self.took = Some(took);
    }

    fn settle(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    fn leave(&mut self) {
        let _ = self.out.flush();
    }

    fn name(&self) -> &'static str {
        "the joblog"
    }
}

/// The numbers that a log has, ascending. `failed_again`: only those that succeeded.
///
/// # Errors
/// The file cannot be read, or is no such log; one that is not there has none.
pub fn read(path: &Path, failed_again: bool) -> io::Result<Vec<u32>> {
    let file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut numbers = std::collections::BTreeSet::new();
    for (i, line) in io::BufReader::new(file).split(b'\n').enumerate() {
        let line = line?;
        let line = String::from_utf8_lossy(&line);
        if i == 0 && line != HEAD {
            return Err(io::Error::new(io::ErrorKind::InvalidData, format!("its first line is not `{HEAD}`")));
        }
        let mut words = line.split('\t');
        // the last line of a run that was killed may be half of one
        let (Some(number), Some(exit), Some(signal), Some(_)) =
            (words.next().and_then(|w| w.parse::<u32>().ok()), words.nth(5), words.next(), words.next())
        else {
            continue;
        };
        if failed_again && (exit, signal) != ("0", "0") {
            numbers.remove(&number);
        } else {
            numbers.insert(number);
        }
    }
    Ok(numbers.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::testing::{attempt, failed, spec_of_each};

    fn log(facts: Vec<Fact>) -> String {
        let mut out = Vec::new();
        let mut log = JobLog::new(&mut out, spec_of_each("echo {} && test"), DateTime::UNIX_EPOCH, true).unwrap();
        for fact in facts {
            log.fact(&fact, Duration::from_millis(1_512)).unwrap();
        }
        drop(log);
        String::from_utf8(out).unwrap()
    }

    fn ended(number: u32, mut attempt: Attempt) -> Fact {
        attempt.task = (0, number - 1);
        Fact::Ended(attempt)
    }

    #[test]
    fn a_line_has_the_columns_of_gnu_parallel() {
        let mut bad = failed("it's\nb");
        bad.detail.exit = Some(3);
        let text = log(vec![ended(1, attempt("a", Outcome::Passed)), ended(2, bad)]);
        let expected = format!(
            "{HEAD}\n1\tlab1\t1.499\t     0.012\t0\t0\t0\t0\techo a && test\n\
             2\tlab1\t1.499\t     0.012\t0\t6\t3\t0\techo 'it'\\''s\0b' && test\n"
        );
        assert_eq!(text, expected);
    }

    #[test]
    fn tasks_of_a_job_that_is_told_again_follow_each_other_in_their_slots() {
        let mut out = Vec::new();
        let mut log = JobLog::new(&mut out, spec_of_each("echo {}"), DateTime::UNIX_EPOCH, true).unwrap();
        log.is_over_after(Duration::from_millis(1_512));
        for number in 1..=2 {
            log.fact(&ended(number, attempt("a", Outcome::Passed)), Duration::from_secs(7200)).unwrap();
        }
        let late = Attempt { us: 1_500_000, ..attempt("b", Outcome::Passed) };
        log.fact(&ended(3, late), Duration::from_secs(7200)).unwrap();
        drop(log);
        let text = String::from_utf8(out).unwrap();
        let begun: Vec<&str> = text.lines().skip(1).filter_map(|line| line.split('\t').nth(2)).collect();
        // not after the job's end
        assert_eq!(begun, ["0.000", "0.012", "0.012"], "{text}");
    }

    #[test]
    fn what_was_killed_lost_or_not_run_is_told_apart() {
        let mut signalled = failed("s");
        signalled.detail.signal = Some(9);
        let never = Attempt { fence: 0, ..attempt("n", Outcome::Cancelled) };
        let text = log(vec![
            ended(1, signalled),
            ended(2, attempt("t", Outcome::TimedOut)),
            ended(3, attempt("c", Outcome::Cancelled)),
            ended(4, never),
        ]);
        let ends: Vec<Vec<&str>> = text.lines().skip(1).map(|l| l.split('\t').skip(6).take(2).collect()).collect();
        assert_eq!(ends, [["0", "9"], ["-1", "15"]]);
    }

    #[test]
    fn a_log_is_read_again_half_lines_and_all() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        assert!(read(&path, false).unwrap().is_empty());
        let lines = format!("{HEAD}\n3\t:\t1.0\t0.1\t0\t0\t1\t0\tfalse\n1\t:\t1.0\t0.1\t0\t0\t0\t0\ttrue\n7\t:\t1");
        std::fs::write(&path, lines).unwrap();
        assert_eq!((read(&path, false).unwrap(), read(&path, true).unwrap()), (vec![1, 3], vec![1]));
        std::fs::write(&path, "something else\n").unwrap();
        assert!(read(&path, false).unwrap_err().to_string().contains("first line"));
    }
}
