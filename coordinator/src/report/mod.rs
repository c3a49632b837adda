//! What people and programs see of a run. Facts come in, in order; each reporter turns them into its own form. None
//! of them asks Redis anything or decides how the run ends.

pub mod bar;
pub mod console;
pub mod durations;
pub mod echo;
pub mod events;
pub mod finale;
pub mod github;
pub mod html;
pub mod joblog;
pub mod json;
pub mod junit;
pub mod kept;
pub mod left;
pub mod log;
pub mod ordered;
pub mod quiet;
pub mod reason;
pub mod rerun;
pub mod results;
pub mod summary;
pub mod text;
pub mod whole;
pub mod workers;

use std::sync::Arc;
use std::time::Duration;

use remuda_protocol::outcome::{Detail, LIVE, Outcome};
use remuda_protocol::spec::GroupKind;
use remuda_store::HostReport;

use crate::follow::view::TaskKey;
pub use summary::Summary;

/// Where an attempt ran.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// Worker id.
    pub worker: String,
    /// Its host.
    pub host: String,
    /// Its slot there.
    pub slot: String,
    /// The slot's number in the job.
    pub number: u32,
}

impl Place {
    /// `host/slot`.
    #[must_use]
    pub fn label(&self) -> String {
        format!("{}/{}", self.host, self.slot)
    }
}

/// An attempt that ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Attempt {
    /// Group and task number.
    pub task: TaskKey,
    /// Name of the group.
    pub group: Arc<str>,
    /// What the group is for.
    pub kind: GroupKind,
    /// The task's name.
    pub id: Arc<str>,
    /// How it ended.
    pub outcome: Outcome,
    /// µs.
    pub us: u64,
    /// Part of it that set up wider fixtures, µs.
    pub wide_us: u64,
    /// Fence, 0 if it never ran.
    pub fence: u64,
    /// Where it ran, if it did and that is known.
    pub place: Option<Place>,
    /// The task that ran before it in that slot.
    pub after: Option<Arc<str>>,
    /// Number of this attempt, from 1.
    pub number: u32,
    /// Attempts that failures may use.
    pub of: u32,
    /// How earlier attempts failed.
    pub earlier: Vec<Outcome>,
    /// How often it was lost.
    pub losses: u32,
    /// What it left behind.
    pub detail: Detail,
    /// Its detail was dropped for want of space.
    pub dropped: bool,
}

impl Attempt {
    /// Passed after a failure.
    #[must_use]
    pub fn is_flaky(&self) -> bool {
        self.outcome == Outcome::Passed && !self.earlier.is_empty()
    }

    /// What a framework told instead of tests, as it was asked to (`--collect-only`).
    #[must_use]
    pub fn is_answer(&self) -> bool {
        self.kind == GroupKind::Collect && self.outcome == Outcome::Passed && self.detail.exit == Some(0)
    }

    /// Whether a collection told that people shall see at once what the suite's tests print past its capture.
    #[must_use]
    pub fn lets_output_through(&self) -> bool {
        self.kind == GroupKind::Collect && self.detail.properties.iter().any(|(name, _)| name == LIVE)
    }

    /// It ran when its run, its job or itself was ended.
    #[must_use]
    pub fn was_ended(&self) -> bool {
        self.outcome == Outcome::Cancelled && self.us > 0
    }

    /// One line that says why.
    #[must_use]
    pub fn why(&self) -> String {
        let detail = &self.detail;
        if self.outcome == Outcome::Lost {
            return format!("its worker died under it {} times", self.losses + 1);
        }
        for text in [&detail.message, &detail.reason] {
            if let Some(line) = text.lines().find(|l| !l.trim().is_empty()) {
                return line.trim().to_owned();
            }
        }
        match (detail.signal, detail.exit) {
            (Some(signal), _) => format!("ended by signal {signal}"),
            (None, Some(exit)) => format!("exit code {exit}"),
            (None, None) => detail.text.lines().last().unwrap_or_default().trim().to_owned(),
        }
    }
}

/// One fact of a run.
#[derive(Clone, Debug, PartialEq)]
pub enum Fact {
    /// The job is there.
    Began {
        /// Its id.
        job: String,
        /// Its name.
        name: String,
        /// Where its Redis is, for people.
        redis: String,
        /// Slots asked for, if a number was.
        slots: Option<u32>,
    },
    /// Tasks were added.
    Added {
        /// Name of the group.
        group: Arc<str>,
        /// How many.
        count: u32,
    },
    /// A slot claimed tasks.
    Claimed {
        /// Name of the group.
        group: Arc<str>,
        /// Number of the first.
        first: u32,
        /// How many.
        count: u32,
        /// Fence of the claim.
        fence: u64,
        /// Where.
        place: Place,
    },
    /// An attempt failed; the task will be tried again.
    Tried(Attempt),
    /// A task reached its end.
    Ended(Attempt),
    /// A task went back to its lane without a result.
    Back {
        /// Name of the group.
        group: Arc<str>,
        /// The task's name.
        id: Arc<str>,
        /// Its worker died (else it gave the task back unstarted).
        lost: bool,
        /// Fence of the claim.
        fence: u64,
        /// Where it was.
        place: Option<Place>,
    },
    /// A group changed.
    Group {
        /// Its name.
        group: Arc<str>,
        /// What it is for.
        kind: GroupKind,
        /// State word.
        state: String,
        /// Why.
        reason: String,
        /// Tasks known.
        tasks: u32,
    },
    /// The job changed.
    Job {
        /// State word.
        state: String,
        /// Why.
        reason: String,
    },
    /// A task runs for long.
    Slow {
        /// Name of the group.
        group: Arc<str>,
        /// The task's name.
        id: Arc<str>,
        /// How long by now.
        age: Duration,
    },
    /// Live output.
    Output {
        /// Where.
        place: Option<Place>,
        /// Whether on stderr.
        error: bool,
        /// The bytes.
        bytes: Vec<u8>,
    },
    /// A host's closing words.
    Host(HostReport),
    /// Something people should know.
    Note(String),
    /// The end.
    Finished(Summary),
}

/// What turns facts into something to see.
pub trait Reporter: Send {
    /// Takes one fact, `at` after the start.
    ///
    /// # Errors
    /// Its file or stream cannot be written.
    fn fact(&mut self, fact: &Fact, at: Duration) -> std::io::Result<()>;

    /// The job is over already and took so long: when it is told again, facts come later than they happened.
    fn is_over_after(&mut self, _took: Duration) {}

    /// The job began before this program came: when its first facts happened is not known.
    fn joins_late(&mut self) {}

    /// Several facts that came together have been told.
    ///
    /// # Errors
    /// Its file or stream cannot be written.
    fn settle(&mut self) -> std::io::Result<()> {
        Ok(())
    }

    /// The run cannot be followed any more: leave what is shown in order.
    fn leave(&mut self) {}

    /// What it writes, for the error when it cannot.
    fn name(&self) -> &'static str {
        "a report"
    }

    /// Shows how far the run is; most do not.
    ///
    /// # Errors
    /// Its stream cannot be written.
    fn progress(&mut self, _now: &Progress) -> std::io::Result<()> {
        Ok(())
    }
}

/// How far a run is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Since the start.
    pub elapsed: Duration,
    /// What is going on, in a word: `Collecting`, `Submitting`, `Running`, `Waiting`, `Ending`.
    pub phase: &'static str,
    /// Tests ended.
    pub done: u32,
    /// Tests known.
    pub total: u32,
    /// No more tests will come.
    pub complete: bool,
    /// Tests that failed.
    pub failed: u32,
    /// What runs: id, since when, where.
    pub running: Vec<(String, Duration, String)>,
    /// How long it will still take, if that can be said.
    pub eta: Option<Duration>,
    /// Why nothing runs.
    pub waiting: String,
}

#[cfg(test)]
pub(crate) mod testing {
    //! Attempts, a spec and a writer for tests of reporters.

    use super::*;
    use crate::cli::{Flags, Global};
    use crate::config::Layer;
    use crate::job::{self, Head, adhoc};
    use remuda_protocol::spec::{JobSpec, Tree};
    use std::collections::BTreeMap;
    use std::io;
    use std::sync::Mutex;

    fn spec_of(draft: job::Draft) -> Arc<JobSpec> {
        let tree = Tree { path: "/src".into(), host: "h".into(), mark: "1:2".into() };
        let id = "0123456789ab".into();
        let head = Head { id, name: "n".into(), submitter: "me".into(), project: "p".into(), tree, embedded: true };
        let settings = Layer::from_flags(&Global::default(), &Flags::default());
        Arc::new(job::build(head, vec![draft], &settings, &BTreeMap::new(), &|_| None).unwrap().spec)
    }

    /// The job of `remuda run -- LINE`.
    pub(crate) fn spec(line: &str) -> Arc<JobSpec> {
        let words: Vec<_> = line.split_whitespace().map(std::ffi::OsString::from).collect();
        spec_of(adhoc::command(&words, &[]).unwrap().draft)
    }

    /// The job of `remuda each LINE`.
    pub(crate) fn spec_of_each(line: &str) -> Arc<JobSpec> {
        let words = [std::ffi::OsString::from(line)];
        spec_of(adhoc::each(adhoc::EachInput { words: &words, ..Default::default() }).unwrap())
    }

    /// A writer whose text can be looked at.
    #[derive(Clone, Default)]
    pub(crate) struct Shared(Arc<Mutex<Vec<u8>>>);

    impl Shared {
        pub(crate) fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    impl io::Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    pub(crate) fn attempt(id: &str, outcome: Outcome) -> Attempt {
        Attempt {
            task: (0, 0),
            group: "pytest".into(),
            kind: GroupKind::Tests,
            id: id.into(),
            outcome,
            us: 12_345,
            wide_us: 0,
            fence: 7,
            place: Some(Place { worker: "w-1".into(), host: "lab1".into(), slot: "0".into(), number: 2 }),
            after: Some("t.py::before".into()),
            number: 1,
            of: 1,
            earlier: Vec::new(),
            losses: 0,
            detail: Detail::default(),
            dropped: false,
        }
    }

    pub(crate) fn failed(id: &str) -> Attempt {
        let detail = Detail {
            message: "assert 1 == 2".into(),
            text: "def test():\n>   assert 1 == 2\nE   assert 1 == 2".into(),
            sections: vec![("stdout".into(), "hello\n".into())],
            ..Detail::default()
        };
        Attempt { detail, ..attempt(id, Outcome::Failed) }
    }
}
