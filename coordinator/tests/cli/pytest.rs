//! `remuda run -- pytest`: what the coordinator adds to a suite (how it runs is tested in `e2e`).

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::support::{Farm, Ranch, Seen, facts, of};

/// The interpreter that `make setup` prepares.
pub(crate) fn python() -> PathBuf {
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
fn marks_select_on_both_sides_and_in_groups() {
    let ranch = Ranch::new();
    ranch.write("test_a.py", "import pytest\n@pytest.mark.slow\ndef test_s(): pass\ndef test_q(): pass\n");
    ranch.write("pytest.ini", "[pytest]\nmarkers = slow\n");
    run(&ranch, &["-m", "slow"], &[]).exits(0).says(&["1 test: 1 passed"]);
    run(&ranch, &[], &["-m", "not slow"]).exits(0).says(&["1 test: 1 passed"]);
    let program = python().display().to_string();
    let group =
        |name: &str| format!("[groups.{name}]\nadapter = \"pytest\"\nprogram = [\"{program}\", \"-m\", \"pytest\"]\n");
    ranch.write("remuda.toml", &group("suite"));
    ranch.run(&["run", "-m", "slow"]).exits(0).says(&["1 test: 1 passed"]);
    ranch.write("remuda.toml", "[groups.a]\nadapter = \"command\"\ncommand = \"true\"\n");
    ranch.run(&["run", "-k", "x"]).exits(2).says(&["-k selects among the tests of a framework", "leave -k out"]);
}

#[test]
fn questions_about_pytest_are_answered_by_pytest() {
    let ranch = Ranch::new();
    let seen = run(&ranch, &[], &["--version"]).exits(0);
    assert!(format!("{}{}", seen.out, seen.err).contains("pytest 9"), "{}{}", seen.out, seen.err);
    assert!(!seen.err.contains("Remuda") && !seen.err.contains("Summary"), "an answer is no run: {}", seen.err);
    run(&ranch, &[], &["--markers", "-p", "no_such_plugin"]).exits(1).says(&["no_such_plugin", "Summary"]);
}

#[test]
fn a_listing_is_shown_and_nothing_runs() {
    let ranch = Ranch::new();
    ranch.write("test_a.py", "def test_one(): open('ran', 'w')\ndef test_two(): assert 0\n");
    for flags in [&["--co", "-q"][..], &["--collect-only", "-q"]] {
        run(&ranch, &[], flags).exits(0).says(&["test_a.py::test_one\n", "2 tests collected"]);
    }
    ranch.write("pytest.ini", "[pytest]\naddopts = --co -q -k nothing_of_that_name\n");
    run(&ranch, &[], &[]).exits(5);
    assert!(!ranch.work().join("ran").exists(), "a test ran");
}

#[test]
fn a_test_that_is_killed_because_another_failed_is_not_in_the_frameworks_reports() {
    let ranch = Ranch::new();
    ranch.write("test_a.py", "import time\ndef test_slow():\n    open('begun', 'w').close()\n    time.sleep(600)\n");
    let waits =
        "import os, time\ndef test_fails():\n    while not os.path.exists('begun'): time.sleep(0.01)\n    assert 0\n";
    ranch.write("test_b.py", waits);
    let seen = run(&ranch, &[], &["-x", "--junitxml=u.xml"]).exits(1);
    seen.says(&["1 failed, 1 not finished"]);
    let junit = std::fs::read_to_string(ranch.work().join("u.xml")).unwrap();
    assert!(junit.contains(r#"failures="1""#) && junit.contains("test_fails"), "{junit}");
    assert!(!junit.contains("test_slow"), "{junit}");
    let failed = std::fs::read_to_string(ranch.work().join(".pytest_cache/v/cache/lastfailed")).unwrap();
    assert!(failed.contains("test_fails") && !failed.contains("test_slow"), "{failed}");
}

#[test]
fn a_flaky_test_passes_in_the_frameworks_own_report() {
    let ranch = Ranch::new();
    ranch.write("test_a.py", SUITE);
    run(&ranch, &["--retries", "1"], &["--junitxml=u.xml"]).exits(1).says(&["1 failed, 1 skipped"]);
    let junit = std::fs::read_to_string(ranch.work().join("u.xml")).unwrap();
    assert!(junit.contains(r#"failures="1""#) && junit.contains(r#"tests="5""#), "{junit}");
    assert_eq!(junit.matches("test_flaky").count(), 1, "{junit}");
}

#[test]
fn files_that_gave_no_tests_are_results() {
    let ranch = Ranch::new();
    ranch.write("test_a.py", "def test_one(): pass\n");
    ranch.write("test_b.py", "import no_such_module_here\n");
    ranch.write("test_c.py", "import pytest\npytest.skip('not here', allow_module_level=True)\n");
    let seen = run(&ranch, &["--junit", "j.xml"], &["--continue-on-collection-errors"]).exits(1);
    seen.says(&["3 tests: 1 passed, 1 errored, 1 skipped", "No module named 'no_such_module_here'"]);
    let junit = std::fs::read_to_string(ranch.work().join("j.xml")).unwrap();
    assert!(junit.contains("no_such_module_here") && junit.contains(r#"<skipped message="not here""#), "{junit}");
}

const FAILING_ENDS: [(&str, &str); 4] = [
    ("def pytest_sessionfinish(session): session.exitstatus = 7\n", "pytest ended with exit code 7"),
    ("def pytest_sessionfinish(session): raise ValueError('sessionfinish broke')\n", "ValueError: sessionfinish broke"),
    ("def pytest_unconfigure(config): raise ValueError('unconfigure broke')\n", "ValueError: unconfigure broke"),
    ("import os\ndef pytest_sessionfinish(session): os._exit(0)\n", "ended before its reports were complete"),
];

#[test]
fn a_session_that_fails_at_its_end_fails_the_run_and_says_why() {
    for (conftest, words) in FAILING_ENDS {
        let ranch = Ranch::new();
        ranch.write("test_a.py", "def test_one(): pass\n");
        ranch.write("conftest.py", conftest);
        run(&ranch, &["--junit", "j.xml"], &[]).exits(1).says(&["1 passed", "failed at its end on", words]);
        let junit = std::fs::read_to_string(ranch.work().join("j.xml")).unwrap();
        assert!(junit.contains(r#"errors="1""#) && junit.contains("end of the session"), "{junit}");
    }
}

#[test]
fn an_id_that_is_too_long_is_refused_by_its_beginning() {
    let ranch = Ranch::new();
    ranch.write(
        "test_a.py",
        "import pytest\n@pytest.mark.parametrize('x', [1], ids=['y' * (1 << 20)])\ndef test_long(x): pass\n",
    );
    let seen = run(&ranch, &[], &[]).says(&[
        "the test id `test_a.py::test_long[yyy",
        "has 1048598 bytes; at most 65536 are possible: give its parameters shorter ids",
    ]);
    assert!(seen.code == Some(2) && seen.err.len() < 4000, "{:?}: the id itself must not fill the screen", seen.code);
}

/// Fixtures that own the locked board from set-up to teardown; a second owner fails.
const BOARD: &str = r#"
import os, time, pytest

@pytest.fixture(scope="module")
def board():
    name = "owned-" + os.environ["REMUDA_POOL_BOARDS"]
    os.mkdir(name)
    yield
    time.sleep(0.3)
    os.rmdir(name)

@pytest.mark.parametrize("n", range(3))
def test_board(board, n):
    time.sleep(0.05)
"#;

#[test]
fn locks_are_held_until_module_fixtures_are_torn_down() {
    let ranch = Ranch::new();
    let program = python().display().to_string();
    let mut toml = "[pools.boards]\nitems = [\"b1\"]\n".to_owned();
    for name in ["a", "b", "c"] {
        ranch.write(&format!("test_{name}.py"), BOARD);
        toml += &format!(
            "[groups.{name}]\nadapter = \"pytest\"\nprogram = [\"{program}\", \"-m\", \"pytest\"]\nargs = [\"test_{name}.py\"]\nlocks = {{ boards = 1 }}\n"
        );
    }
    ranch.write("remuda.toml", &toml);
    ranch.run(&["run", "-n", "2"]).exits(0).says(&["9 tests: 9 passed"]);
    assert!(!ranch.work().join("owned-b1").exists());
}

#[test]
fn a_group_of_the_suites_own_stays_on_one_runner() {
    let ranch = Ranch::new();
    let suite = "import os, time, pytest\n@pytest.mark.parametrize('n', range(4))\n@pytest.mark.xdist_group('db')\ndef test_db(n):\n    open('db', 'a').write('%d\\n' % os.getpid())\n    time.sleep(0.05)\n@pytest.mark.parametrize('n', range(4))\ndef test_free(n):\n    open('free', 'a').write('%d\\n' % os.getpid())\n    time.sleep(0.05)\n";
    ranch.write("test_a.py", suite);
    ranch.write("test_b.py", suite);
    run(&ranch, &[], &[]).exits(0).says(&["16 tests: 16 passed"]);
    let pids = |name: &str| -> std::collections::BTreeSet<String> {
        std::fs::read_to_string(ranch.work().join(name)).unwrap().lines().map(str::to_owned).collect()
    };
    assert_eq!(pids("db").len(), 1);
    assert_ne!(pids("free"), pids("db"), "the rest goes where it likes");
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

#[test]
fn a_report_of_pytests_own_on_several_workers_is_said_to_be_a_part() {
    const PAIR: &str = r#"
import os, pathlib, time, pytest
@pytest.mark.parametrize("me, other", [("a", "b"), ("b", "a")])
def test_pair(me, other):
    pathlib.Path(f"here-{me}").touch()
    while not os.path.exists(f"here-{other}"):
        time.sleep(0.01)
"#;
    let ranch = Ranch::new();
    ranch.write("test_a.py", PAIR);
    let one = ["--slots", "1"];
    let farm = Farm::start(&[]).with_worker(&ranch, &one).with_worker(&ranch, &one);
    let words = "pytest's own --junitxml was written by each of 2 workers for its own tests";
    let url = farm.url();
    let seen = run(&ranch, &["--redis", &url], &["--junitxml=own.xml"]).exits(0).says(&[words, "--junit and --html"]);
    assert_eq!(seen.err.matches("was written by each").count(), 1, "{}", seen.err);
    let alone = run(&ranch, &[], &["--junitxml=own.xml"]).exits(0);
    assert!(!alone.err.contains("was written by each"), "{}", alone.err);
}

/// Waits for the file `go` after it has said so, by itself and by a child.
const AT_THE_DOOR: &str = r#"
import os, subprocess, sys, time
def test_quick():
    print("quick words")
    sys.stderr.write("quick complaint\n")
def test_waits():
    print("at the door")
    subprocess.call(["echo", "a child too"])
    until = time.monotonic() + 30
    while not os.path.exists("go"):
        assert time.monotonic() < until, "nobody has seen it"
        time.sleep(0.01)
    print("through the door")
"#;

#[test]
fn without_capture_what_tests_print_is_seen_while_they_run() {
    let ranch = Ranch::new();
    ranch.write("test_a.py", AT_THE_DOOR);
    prints_while_it_runs(&ranch, &["-s"]);
}

#[test]
fn a_suite_that_wants_no_capture_by_itself_is_heard_as_well() {
    let ranch = Ranch::new();
    ranch.write("test_a.py", AT_THE_DOOR);
    ranch.write("pytest.ini", "[pytest]\naddopts = --capture=no\n");
    prints_while_it_runs(&ranch, &[]);
}

fn prints_while_it_runs(ranch: &Ranch, flags: &[&str]) {
    let python = python().display().to_string();
    let words = [&["run", "-n", "2", "--", &python, "-m", "pytest", "-q"], flags].concat();
    let mut live = ranch.start(&words);
    let until = Instant::now() + Duration::from_secs(30);
    while !(ranch.console().contains("at the door\n") && ranch.console().contains("a child too\n")) {
        assert!(Instant::now() < until, "{}", ranch.console());
        std::thread::yield_now();
    }
    assert!(!ranch.console().contains("through the door"), "{}", ranch.console());
    ranch.write("go", "");
    assert!(live.ends_within(Duration::from_secs(30)).is_some_and(|status| status.success()), "{}", ranch.console());
    let console = ranch.console();
    for words in ["quick words\n", "quick complaint\n", "at the door\n", "a child too\n", "through the door\n"] {
        assert_eq!(console.matches(words).count(), 1, "{words} in:\n{console}");
    }
}

/// Tells in `ran` which test began where; later ones take longer, so that history would begin with the last.
const IN_ORDER: &str = r#"
import os, pytest, time
@pytest.mark.parametrize("n", range(8))
def test_n(n):
    with open("ran", "a") as log:
        log.write("%d %s\n" % (n, os.environ["PYTEST_XDIST_WORKER"]))
    time.sleep(0.03 * n)
    assert n not in (2, 5) or os.environ.get("REPAIRED")
"#;

fn ran(ranch: &Ranch) -> Vec<(u32, String)> {
    let path = ranch.work().join("ran");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::remove_file(path).unwrap();
    text.lines().map(|l| l.split_once(' ').map(|(n, slot)| (n.parse().unwrap(), slot.to_owned())).unwrap()).collect()
}

#[test]
fn stepwise_goes_in_collection_order_on_one_slot_whatever_is_known() {
    let ranch = Ranch::new();
    ranch.write("test_a.py", IN_ORDER);
    run(&ranch, &[], &["-q"]).exits(1);
    let known = ran(&ranch);
    assert_eq!(known.len(), 8);
    run(&ranch, &["--env", "REPAIRED=1"], &["-q", "--sw"]).exits(0);
    let ran = ran(&ranch);
    assert_eq!(ran.iter().map(|(n, _)| *n).collect::<Vec<_>>(), (0..8).collect::<Vec<_>>());
    assert!(ran.iter().all(|(_, slot)| *slot == ran[0].1), "{ran:?}");
}

#[test]
fn failed_first_comes_before_the_slowest() {
    let ranch = Ranch::new();
    ranch.write("test_a.py", IN_ORDER);
    run(&ranch, &[], &["-q"]).exits(1);
    ran(&ranch);
    run(&ranch, &[], &["-q", "--ff"]).exits(1);
    let mut first: Vec<u32> = ran(&ranch).iter().take(2).map(|(n, _)| *n).collect();
    first.sort_unstable();
    assert_eq!(first, [2, 5]);
}

#[test]
fn a_debugger_is_refused_before_anything_runs() {
    let ranch = Ranch::new();
    ranch.write("test_a.py", IN_ORDER);
    run(&ranch, &[], &["-q", "--pdb"]).exits(2).says(&["a debugger (--pdb, --trace) needs a terminal", "plain pytest"]);
    assert!(!ranch.work().join("ran").exists());
}

#[test]
fn the_line_that_runs_a_failure_again_works_below_the_rootdir() {
    let ranch = Ranch::new();
    let sub = ranch.work().join("sub");
    std::fs::create_dir(&sub).unwrap();
    ranch.write("pytest.ini", "[pytest]\n");
    ranch.write(
        "sub/test_b.py",
        "import pytest\n@pytest.mark.parametrize('i', [1, 3])\ndef test_par(i): assert i != 3\n",
    );
    let python = python().display().to_string();
    let run = |args: &[&str]| {
        let words = [&["run", "-n", "2", "--", &python, "-m", "pytest"], args].concat();
        let output = ranch.command(&words).current_dir(&sub).output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let console = run(&[]);
    assert!(console.contains("] sub/test_b.py::test_par[3]\n"), "{console}");
    assert!(console.contains("-m pytest 'test_b.py::test_par[3]'\n"), "{console}");
    let again = run(&["test_b.py::test_par[3]"]);
    assert!(again.contains("1 test: 0 passed, 1 failed"), "{again}");
}

/// Each file goes to a slot; the first test of one of them fails.
const HASTY: &str = r#"
import pytest, time
@pytest.mark.parametrize("n", range(40))
def test_n(n):
    with open(__name__, "a") as log:
        log.write("%d\n" % n)
    time.sleep(0.03)
    assert n or __name__ == "test_b"
"#;

#[test]
fn after_the_first_failure_nothing_that_only_waited_in_a_slot_is_run() {
    let ranch = Ranch::new();
    ranch.write("test_a.py", HASTY);
    ranch.write("test_b.py", HASTY);
    let log = ranch.work().join("test_a");
    // known to be short, they are handed out by the handful
    run(&ranch, &["--group-by", "file"], &["-q"]).exits(1).says(&["79 passed, 1 failed"]);
    for (ours, theirs) in [(vec![], vec!["-q", "-x"]), (vec!["-x"], vec!["-q"])] {
        std::fs::remove_file(&log).unwrap();
        run(&ranch, &[&["--group-by", "file"], &ours[..]].concat(), &theirs).exits(1).says(&["1 failed"]);
        let begun = std::fs::read_to_string(&log).unwrap();
        assert!(begun.lines().count() <= 3, "{begun}");
    }
}

#[test]
fn a_test_that_ends_the_run_is_told_with_its_words() {
    let ranch = Ranch::new();
    ranch.write("test_a.py", "import pytest\ndef test_a(): pytest.exit('enough of this', 12)\ndef test_b(): pass\n");
    run(&ranch, &[], &["-q"])
        .exits(1)
        .says(&["\npytest.exit: enough of this (returncode 12): a serial run would have ended here\n", "1 passed"]);
}

#[test]
fn a_suite_that_tells_its_session_to_stop_ends_the_run() {
    let ranch = Ranch::new();
    ranch.write(
        "test_a.py",
        "import pytest, time\n\
         def test_a(request): request.session.shouldstop = 'enough of this'\n\
         @pytest.mark.parametrize('n', range(200))\n\
         def test_b(n): time.sleep(.05)\n",
    );
    let seen = run(&ranch, &["--junit", "j.xml", "--json", "s.json"], &["-q"]).exits(1);
    seen.says(&["the suite told its session to stop: enough of this", "201 tests: ", " not finished"]);
    let junit = std::fs::read_to_string(ranch.work().join("j.xml")).unwrap();
    assert!(junit.contains("enough of this"), "{junit}");
    let told = std::fs::read_to_string(ranch.work().join("s.json")).unwrap();
    let told: serde_json::Value = serde_json::from_str(&told).unwrap();
    assert!(told["passed"].as_u64().unwrap() < 100, "{told}");
}

#[test]
fn an_expected_failure_is_told_apart_from_a_skip() {
    let ranch = Ranch::new();
    ranch.write(
        "test_a.py",
        "import pytest\n@pytest.mark.xfail(reason='known')\ndef test_a(): assert 0\n\
         @pytest.mark.xfail\ndef test_b(): pass\ndef test_c(): pytest.skip('not here')\n",
    );
    let seen = run(&ranch, &["--junit", "j.xml", "--status-level", "all"], &["-q"]).exits(0);
    seen.says(&["3 tests: 1 passed, 2 skipped (1 xfailed)", "XFAIL [", "test_a (known)", "XPASS [", "SKIP ["]);
    let junit = std::fs::read_to_string(ranch.work().join("j.xml")).unwrap();
    assert!(junit.contains(r#"<skipped message="known" type="xfailed""#), "{junit}");
}
