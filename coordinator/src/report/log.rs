//! The run's full log: every fact and every line of output that came, each naming host and slot. For reading after
//! the run; the console says where it is.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::text::{length, name, word_of};
use super::{Attempt, Fact, Place, Reporter};

/// Most bytes that wait for the end of their batch.
const MOST_WAITING: usize = 1 << 16;

/// A log file that several writers share: the reporter, the tracing of this program, the embedded children.
#[derive(Clone)]
pub struct LogFile {
    file: Arc<Mutex<Box<dyn Write + Send>>>,
}

impl LogFile {
    /// A log into `file`.
    #[must_use]
    pub fn new(file: Box<dyn Write + Send>) -> Self {
        Self { file: Arc::new(Mutex::new(file)) }
    }

    /// Writes whole lines, each behind `head`.
    ///
    /// # Errors
    /// The file's.
    pub fn lines(&self, head: &str, text: &str) -> io::Result<()> {
        let block: String = text.lines().map(|line| format!("{head} {line}\n")).collect();
        self.clone().write_all(block.as_bytes())
    }
}

impl Write for LogFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut file = self.file.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        file.write_all(bytes)?;
        file.flush()?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The reporter that fills it.
pub struct Log {
    file: LogFile,
    waiting: String,
}

impl Log {
    /// Reports into a log.
    #[must_use]
    pub fn new(file: LogFile) -> Self {
        Self { file, waiting: String::new() }
    }
}

fn place_of(place: Option<&Place>) -> String {
    place.map_or_else(|| "-".into(), Place::label)
}

fn attempt_text(attempt: &Attempt, again: &str) -> String {
    let detail = &attempt.detail;
    let mut text = format!(
        "{}{again} {} {} {}us fence {}\n",
        word_of(attempt).0,
        attempt.group,
        name(&attempt.id),
        attempt.us,
        attempt.fence
    );
    for part in [&detail.message, &detail.reason, &detail.text] {
        part.lines().for_each(|line| text.push_str(&format!("  {line}\n")));
    }
    for (title, body) in &detail.sections {
        body.lines().for_each(|line| text.push_str(&format!("  {title} | {line}\n")));
    }
    text
}

impl Reporter for Log {
    fn fact(&mut self, fact: &Fact, at: Duration) -> io::Result<()> {
        let (place, text) = match fact {
            Fact::Began { job, name: title, redis, .. } => ("-".into(), format!("job {job} began on {redis}: {title}")),
            Fact::Added { group, count } => ("-".into(), format!("{group}: {count} tasks added")),
            Fact::Claimed { group, first, count, fence, place } => {
                (place.label(), format!("claimed {group} {first}+{count} fence {fence}"))
            }
            Fact::Tried(attempt) => (place_of(attempt.place.as_ref()), attempt_text(attempt, " (to be tried again)")),
            Fact::Ended(attempt) => (place_of(attempt.place.as_ref()), attempt_text(attempt, "")),
            Fact::Back { group, id, lost, place, .. } => {
                let word = if *lost { "lost" } else { "given back" };
                (place_of(place.as_ref()), format!("{word} {group} {}", name(id)))
            }
            Fact::Group { group, state, reason, .. } => ("-".into(), format!("group {group} {state} {reason}")),
            Fact::Job { state, reason } => ("-".into(), format!("job {state} {reason}")),
            Fact::Slow { group, id, age } => ("-".into(), format!("slow {group} {} {}", name(id), length(*age))),
            Fact::Output { place, error, bytes } => {
                let stream = if *error { "stderr" } else { "stdout" };
                let text: String =
                    String::from_utf8_lossy(bytes).lines().map(|l| format!("{stream} | {l}\n")).collect();
                (place_of(place.as_ref()), text)
            }
            Fact::Host(report) => {
                (format!("{}/-", report.host), format!("{}\n{}\n{}", report.no_fork, report.summary, report.failed))
            }
            Fact::Note(text) => ("-".into(), format!("note: {text}")),
            Fact::Finished(summary) => {
                ("-".into(), format!("exit {}: {} {}", summary.exit, summary.sentence(), summary.because))
            }
        };
        for line in text.trim().lines() {
            writeln!(self.waiting, "{:>9.3} {place} {line}", at.as_secs_f64()).map_err(io::Error::other)?;
        }
        // a batch of facts is one write: this program shares the machine with the tests
        if matches!(fact, Fact::Finished(_)) || self.waiting.len() > MOST_WAITING { self.settle() } else { Ok(()) }
    }

    fn settle(&mut self) -> io::Result<()> {
        let text = std::mem::take(&mut self.waiting);
        if text.is_empty() { Ok(()) } else { self.file.write_all(text.as_bytes()) }
    }

    fn leave(&mut self) {
        let _ = self.settle();
    }

    fn name(&self) -> &'static str {
        "the log of the run"
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::testing::failed;

    #[derive(Clone, Default)]
    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn every_line_names_host_and_slot() {
        let shared = Shared::default();
        let mut log = Log::new(LogFile::new(Box::new(shared.clone())));
        log.fact(&Fact::Ended(failed("t.py::test")), Duration::from_millis(1500)).unwrap();
        log.settle().unwrap();
        let text = String::from_utf8(shared.0.lock().unwrap().clone()).unwrap();
        assert!(text.lines().count() > 3);
        assert!(text.lines().all(|line| line.starts_with("    1.500 lab1/0 ")), "{text}");
        assert!(text.contains("lab1/0   stdout | hello"), "{text}");
    }
}
