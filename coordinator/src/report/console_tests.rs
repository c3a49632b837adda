//! The console, word for word.

use super::*;
use crate::cli::{Flags, Global};
use crate::config::Layer;
use crate::job::{self, Head, adhoc};
use crate::report::testing::{attempt, failed};
use remuda_protocol::spec::Tree;
use std::collections::BTreeMap;

fn spec(line: &str) -> Arc<JobSpec> {
    let words: Vec<_> = line.split_whitespace().map(std::ffi::OsString::from).collect();
    let draft = adhoc::command(&words, &[]).unwrap().draft;
    let tree = Tree { path: "/src".into(), host: "h".into(), mark: "1:2".into() };
    let head =
        Head { id: "j".into(), name: "n".into(), submitter: "me".into(), project: "p".into(), tree, embedded: true };
    let settings = Layer::from_flags(&Global::default(), &Flags::default());
    Arc::new(job::build(head, vec![draft], &settings, &BTreeMap::new(), &|_| None).unwrap().spec)
}

fn show(look: Look, facts: Vec<Fact>) -> String {
    let mut out = Vec::new();
    let mut console = Console::new(&mut out, look, spec("python -m pytest -q tests"));
    for fact in facts {
        console.fact(&fact, Duration::ZERO).unwrap();
    }
    drop(console);
    String::from_utf8(out).unwrap()
}

fn on_pytest(mut attempt: Attempt) -> Attempt {
    attempt.task = (1, 0);
    attempt
}

#[test]
fn a_run_with_one_failure_reads_like_this() {
    let summary = Summary {
        noun: "test",
        wall: Duration::from_millis(12_300),
        counts: [1, 1, 0, 0, 0, 0, 0],
        slots: 2,
        workers: 1,
        exit: 1,
        log: "/s/run.log".into(),
        ..Summary::default()
    };
    let facts = vec![
        Fact::Began {
            job: "0123456789ab".into(),
            name: "pytest tests".into(),
            redis: "embedded Redis".into(),
            slots: Some(2),
        },
        Fact::Group {
            group: "pytest".into(),
            kind: GroupKind::Tests,
            state: "sealed".into(),
            reason: String::new(),
            tasks: 2,
        },
        Fact::Ended(attempt("t.py::test_a", Outcome::Passed)),
        Fact::Ended(on_pytest(failed("t.py::test b"))),
        Fact::Finished(summary),
    ];
    let expected = "      Remuda pytest tests (2 slots on embedded Redis, job 01234567)
   Collected 2 tests
        FAIL [   0.012s] t.py::test b
    def test():
    >   assert 1 == 2
    E   assert 1 == 2
  stdout ---
    hello
────────────
     Summary [ 12.3s ] 2 tests: 1 passed, 1 failed; 2 slots on 1 worker
        FAIL [   0.012s] t.py::test b
             assert 1 == 2
             remuda run -- python -m pytest 't.py::test b'
         Log /s/run.log
";
    assert_eq!(show(Look::default(), facts), expected);
}

#[test]
fn passes_and_skips_are_shown_when_asked_for() {
    let mut skipped = attempt("t.py::test_s", Outcome::Skipped);
    skipped.detail.reason = "needs root".into();
    let facts = vec![Fact::Ended(attempt("t.py::test_a", Outcome::Passed)), Fact::Ended(skipped)];
    assert_eq!(show(Look::default(), facts.clone()), "");
    let expected = "        PASS [   0.012s] t.py::test_a\n        SKIP [   0.012s] t.py::test_s (needs root)\n";
    assert_eq!(show(Look { verbosity: 1, ..Look::default() }, facts), expected);
}

#[test]
fn a_retry_is_shown_and_a_flaky_pass_named() {
    let tried = Attempt { of: 3, ..failed("t.py::test") };
    let passed = Attempt { of: 3, number: 2, earlier: vec![Outcome::Failed], ..attempt("t.py::test", Outcome::Passed) };
    let text = show(Look::default(), vec![Fact::Tried(tried), Fact::Ended(passed)]);
    assert!(text.starts_with("       RETRY [   0.012s] t.py::test (attempt 1: FAIL)\n    def test"), "{text}");
    assert!(text.ends_with("   FLAKY 2/3 [   0.012s] t.py::test\n"), "{text}");
}

#[test]
fn every_bad_end_has_its_word_and_reason() {
    let lost = Attempt { losses: 1, ..attempt("t.py::poison", Outcome::Lost) };
    let mut killed = attempt("t.py::segv", Outcome::Errored);
    killed.detail.signal = Some(11);
    let text = show(
        Look::default(),
        vec![Fact::Ended(lost), Fact::Ended(killed), Fact::Ended(attempt("t.py::hang", Outcome::TimedOut))],
    );
    let expected = "        LOST [   0.012s] t.py::poison\n    its worker died under it 2 times\n       ERROR [   0.012s] t.py::segv\n    ended by signal 11\n     TIMEOUT [   0.012s] t.py::hang\n";
    assert_eq!(text, expected);
}

#[test]
fn a_failed_collection_shows_the_frameworks_own_words() {
    let mut collect = attempt("pytest", Outcome::Errored);
    (collect.kind, collect.group) = (GroupKind::Collect, "pytest@collect".into());
    collect.detail.message = "1 error during collection".into();
    collect.detail.text = "E   ModuleNotFoundError: No module named 'nope'\n".into();
    let text = show(Look::default(), vec![Fact::Ended(collect)]);
    assert_eq!(
        text,
        "       ERROR [   0.012s] collecting pytest: 1 error during collection\nE   ModuleNotFoundError: No module named 'nope'\n"
    );
}

#[test]
fn without_a_terminal_a_counter_comes_now_and_then() {
    let mut out = Vec::new();
    let mut console = Console::new(&mut out, Look::default(), spec("make"));
    for seconds in [1, 14, 16, 20, 32] {
        let now = Progress {
            elapsed: Duration::from_secs(seconds),
            phase: "Running",
            done: 120,
            total: 540,
            eta: Some(Duration::from_secs(42)),
            ..Progress::default()
        };
        console.progress(&now).unwrap();
    }
    drop(console);
    let line = |t: &str| format!("     Running [ {t} ] 120/540+ done, ETA 42.0s\n");
    assert_eq!(String::from_utf8(out).unwrap(), line("16.0s") + &line("32.0s"));
}

#[test]
fn output_of_tasks_goes_on_as_it_was_printed() {
    #[derive(Clone, Default)]
    struct Shared(std::sync::Arc<std::sync::Mutex<Vec<u8>>>);
    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let (mut err, out) = (Vec::new(), Shared::default());
    let mut console = Console::new(&mut err, Look::default(), spec("make")).echoing(Box::new(out.clone()));
    let mut passed = attempt("a", Outcome::Passed);
    passed.detail.sections = vec![("stdout".into(), "one\n".into()), ("stderr".into(), "two\n".into())];
    console.fact(&Fact::Ended(passed), Duration::ZERO).unwrap();
    console.fact(&Fact::Ended(failed("b")), Duration::ZERO).unwrap();
    drop(console);
    assert_eq!(String::from_utf8(out.0.lock().unwrap().clone()).unwrap(), "one\nhello\n");
    let err = String::from_utf8(err).unwrap();
    assert!(err.starts_with("two\n        FAIL ") && !err.contains("hello"), "{err}");
}
