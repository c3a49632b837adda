//! The console, word for word.

use super::*;
use crate::report::Place;
use crate::report::echo::Manner;
use crate::report::testing::{Shared, attempt, failed, spec};
use remuda_protocol::outcome::Outcome;

fn show(look: Look, facts: Vec<Fact>) -> String {
    let mut out = Vec::new();
    let mut console = Console::new(&mut out, look, spec("python -m pytest -q tests"), Kept::default());
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
    let mut console = Console::new(&mut out, Look::default(), spec("make"), Kept::default());
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
    let (mut err, out) = (Vec::new(), Shared::default());
    let mut console = Console::new(&mut err, Look::default(), spec("make"), Kept::default()).echoing(Echo::new(
        Box::new(out.clone()),
        Manner::default(),
        Kept::default(),
    ));
    let mut passed = attempt("a", Outcome::Passed);
    passed.detail.sections = vec![("stdout".into(), "one\n".into()), ("stderr".into(), "two\n".into())];
    console.fact(&Fact::Ended(passed), Duration::ZERO).unwrap();
    console.fact(&Fact::Ended(failed("b")), Duration::ZERO).unwrap();
    drop(console);
    assert_eq!(out.text(), "one\nhello\n");
    let err = String::from_utf8(err).unwrap();
    assert!(err.starts_with("two\n        FAIL ") && !err.contains("hello"), "{err}");
}

#[test]
fn levels_say_what_is_shown_and_what_is_shown_again() {
    let flaky = Attempt { number: 2, earlier: vec![Outcome::Failed], ..attempt("flaky", Outcome::Passed) };
    let slow = Attempt { us: 61_000_000, ..attempt("slow", Outcome::Passed) };
    let results =
        [on_pytest(failed("bad")), flaky, slow, attempt("fine", Outcome::Passed), attempt("out", Outcome::Skipped)];
    let shown = |shown, again| {
        let mut facts: Vec<Fact> = results.iter().cloned().map(Fact::Ended).collect();
        facts.push(Fact::Finished(Summary::default()));
        let text = show(Look { shown: Some(shown), again: Some(again), ..Look::default() }, facts);
        let (first, last) = text.split_once("────").unwrap();
        let words = |text: &str| -> Vec<String> {
            let lines = text.lines().filter(|l| l.contains("s] "));
            lines.map(|l| l.split_whitespace().next_back().unwrap_or_default().to_owned()).collect()
        };
        (words(first), words(last))
    };
    use StatusLevel::{All, Fail, None, Pass, Retry, Skip, Slow};
    let none: &[&str] = &[];
    assert_eq!(shown(None, None), (vec![], vec![]));
    assert_eq!(shown(Fail, Retry).0, ["bad"]);
    assert_eq!(shown(Slow, Fail).0, ["bad", "flaky", "slow"]);
    assert_eq!(
        shown(Pass, Retry),
        (["bad", "flaky", "slow", "fine"].map(str::to_owned).to_vec(), vec!["flaky".into(), "bad".into()])
    );
    assert_eq!(shown(All, None).1, none);
    assert_eq!(shown(None, Skip).1, ["out", "fine", "slow", "flaky", "bad"]);
}

#[test]
fn several_workers_have_a_table_and_one_only_when_asked() {
    let on = |worker: &str| {
        let place = Place { worker: worker.into(), host: format!("host-{worker}"), slot: "0".into(), number: 0 };
        Fact::Ended(Attempt { place: Some(place), ..attempt("t", Outcome::Passed) })
    };
    let end = || Fact::Finished(Summary { noun: "test", wall: Duration::from_secs(1), ..Summary::default() });
    assert!(!show(Look::default(), vec![on("a"), end()]).contains("host-a"));
    assert!(show(Look { verbosity: 1, ..Look::default() }, vec![on("a"), end()]).contains("host-a"));
    let two = show(Look::default(), vec![on("a"), on("b"), end()]);
    assert!(two.contains("Workers  tests") && two.contains("host-b"), "{two}");
}

#[test]
fn a_locale_without_our_signs_gets_others() {
    let text = show(Look { ascii: true, ..Look::default() }, vec![Fact::Finished(Summary::default())]);
    assert!(text.starts_with("------------\n") && text.is_ascii(), "{text}");
}
