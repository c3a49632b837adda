//! `remuda run -- pytest`: what the coordinator adds to a suite (how it runs is tested in `e2e`).

use std::path::{Path, PathBuf};

use super::support::{Farm, Ranch, Seen, facts, of};

/// The interpreter that `make setup` prepares.
fn python() -> PathBuf {
    let python = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/venv/bin/python");
    assert!(python.exists(), "{} is missing: run `make setup`", python.display());
    python
}

fn run(ranch: &Ranch, flags: &[&str], pytest: &[&str]) -> Seen {
    let python = python().display().to_string();
    let mut args = vec!["run", "-n", "2"];
    args.extend(flags);
    args.extend(["--", &python, "-m", "pytest"]);
    args.extend(pytest);
    ranch.run(&args)
}

const SUITE: &str = r#"
import os, pytest
class TestK:
    @pytest.mark.parametrize("n", ["a::b", "c d"])
    def test_ok(self, n): pass
def test_fail():
    print("captured words")
    assert 1 == 2
@pytest.mark.skip(reason="not today")
def test_skip(): pass
def test_flaky():
    if not os.path.exists("mark"):
        open("mark", "w").close()
        assert False, "first time"
"#;

#[test]
fn a_suite_is_counted_and_its_failures_are_repeated_last() {
    let ranch = Ranch::new();
    ranch.write("test_a.py", SUITE);
    let path = ranch.work().join("e.jsonl").display().to_string();
    let seen = run(&ranch, &["--retries", "1", "--events", &path, "--junit", "j.xml"], &["-q"]).exits(1).says(&[
        "   Collected 5 tests\n",
        "5 tests: 3 passed (1 flaky), 1 failed, 1 skipped; ",
        "   FLAKY 2/2 [",
        "captured words",
        "-m pytest test_a.py::test_fail\n",
    ]);
    let last = seen.err.rfind("        FAIL [").unwrap();
    assert!(seen.err.find("     Summary [").unwrap() < last, "{}", seen.err);
    let facts = facts(path.as_ref());
    let mut ids: Vec<&str> = of(&facts, "result").iter().filter_map(|r| r["id"].as_str()).collect();
    ids.sort_unstable();
    let tests = ["TestK::test_ok[a::b]", "TestK::test_ok[c d]", "test_fail", "test_flaky", "test_skip"];
    let mut expected: Vec<String> = tests.iter().map(|t| format!("test_a.py::{t}")).collect();
    expected.push("pytest".into()); // the collection itself
    expected.sort();
    assert_eq!(ids, expected);
    let junit = std::fs::read_to_string(ranch.work().join("j.xml")).unwrap();
    assert!(junit.contains(r#"name="test_ok[a::b]" classname="test_a.TestK""#), "{junit}");
    assert!(junit.contains("<flakyFailure ") && junit.contains(r#"message="AssertionError: first time"#), "{junit}");
    assert!(junit.contains("<rerunFailure") && junit.contains(r#"<skipped message="not today""#), "{junit}");
}

#[test]
fn a_flag_means_the_same_on_both_sides_of_the_dashes() {
    let ranch = Ranch::new();
    ranch.write("test_a.py", SUITE);
    run(&ranch, &["-k", "TestK"], &[]).exits(0).says(&["2 tests: 2 passed"]);
    run(&ranch, &[], &["-k", "TestK"]).exits(0).says(&["2 tests: 2 passed"]);
    run(&ranch, &["-v"], &["-k", "TestK"]).exits(0).says(&["        PASS [", "TestK::test_ok[c d]\n"]);
    run(&ranch, &[], &["-v", "-k", "TestK"]).exits(0).says(&["        PASS [", "TestK::test_ok[c d]\n"]);
}

#[test]
fn nothing_collected_has_its_own_code() {
    let ranch = Ranch::new();
    ranch.write("test_a.py", "");
    run(&ranch, &[], &[]).exits(5).says(&["there was nothing to run"]);
    ranch.write("test_a.py", SUITE);
    run(&ranch, &[], &["-k", "no_such_test"]).exits(5);
}

#[test]
fn an_error_of_collection_is_shown_in_the_frameworks_own_words() {
    let ranch = Ranch::new();
    ranch.write("test_bad.py", "import no_such_module\n");
    run(&ranch, &[], &[]).exits(2).says(&[
        "       ERROR [",
        "collecting pytest",
        "test_bad.py:1: in <module>",
        "E   ModuleNotFoundError: No module named 'no_such_module'",
    ]);
    run(&ranch, &[], &["--no-such-flag"]).exits(2).says(&["unrecognized arguments: --no-such-flag"]);
}

#[test]
fn a_fixture_that_fails_to_close_fails_the_run_by_name() {
    let ranch = Ranch::new();
    let suite = "import pytest\n@pytest.fixture(scope='session')\ndef server():\n    yield 1\n    raise RuntimeError('would not stop')\ndef test_a(server): pass\n";
    ranch.write("test_a.py", suite);
    run(&ranch, &[], &[]).exits(1).says(&["server", "would not stop"]);
}

#[test]
fn a_worker_without_the_tree_refuses_by_host_and_path() {
    // the farm's worker sees the same disk here, so the tree has to go between submission and claim
    let ranch = Ranch::new();
    let farm = Farm::start(&[]);
    let gone = ranch.work().join("gone");
    std::fs::create_dir(&gone).unwrap();
    let url = farm.url();
    let mut live = {
        let mut command = ranch.command(&["--redis", &url, "each", "true", ":::", "a"]);
        command.current_dir(&gone).stderr(std::process::Stdio::piped()).env("REMUDA_EVENTS", "-");
        command.stdout(std::process::Stdio::piped());
        command.spawn().unwrap()
    };
    let mut facts = std::io::BufReader::new(live.stdout.take().unwrap());
    let mut line = String::new();
    while !line.contains(r#""event":"added""#) {
        line.clear();
        assert!(std::io::BufRead::read_line(&mut facts, &mut line).unwrap() > 0);
    }
    std::fs::remove_dir(&gone).unwrap();
    let _farm = farm.with_worker(&ranch, &["--slots", "1"]);
    std::io::copy(&mut facts, &mut std::io::sink()).unwrap();
    let output = live.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("does not have the tree") && text.contains(&gone.display().to_string()), "{text}");
}
