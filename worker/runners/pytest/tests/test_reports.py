"""The loader's own session: --junitxml, --html, cache, durations, -r, coverage, warnings, user hooks."""

import json
import os
import re
import signal
import xml.etree.ElementTree as xml

import pytest

TESTS = """
    import pytest, warnings
    def test_passes(): pass
    def test_fails(): assert 0, "because"
    def test_prints(): print("shown")
    def test_skips(): pytest.skip("why not")
    @pytest.mark.xfail
    def test_xfails(): assert 0
    def test_warns(): warnings.warn("old thing", DeprecationWarning)
    @pytest.fixture
    def broken(): 1 / 0
    def test_error(broken): pass
    def test_property(record_property): record_property("k", "v")
    @pytest.mark.filterwarnings("ignore")
    def test_xml(record_testsuite_property, record_xml_attribute):
        record_testsuite_property("board", "b7")
        record_xml_attribute("assertions", 12)
"""


def cases(path):
    """{test name: kinds of children} of a JUnit file, with its totals."""
    suite = xml.parse(str(path)).getroot().find("testsuite")
    totals = {name: suite.get(name) for name in ("tests", "failures", "errors", "skipped")}
    return totals, {
        case.get("classname") + "." + case.get("name"): sorted(child.tag for child in case)
        for case in suite.iter("testcase")
    }


def test_junitxml_equals_serial(suite):
    suite.write("test_r.py", TESTS)
    suite.serial("--junitxml=serial.xml", "-o", "junit_family=xunit1")
    run = suite.run("--junitxml=ours.xml", "-o", "junit_family=xunit1")
    assert run.loader.done["options"]["replay"] is True
    assert cases(suite.folder / "ours.xml") == cases(suite.folder / "serial.xml")
    text = (suite.folder / "ours.xml").read_text()
    assert text.count('<property name="board" value="b7"') == 1 and text.count('assertions="12"') == 1


def test_html(suite):
    pytest.importorskip("pytest_html")
    suite.write("test_r.py", TESTS)
    suite.run("--html=ours.html", "--self-contained-html")
    text = (suite.folder / "ours.html").read_text()
    for name in ("test_passes", "test_fails", "test_skips", "test_error"):
        assert "test_r.py::" + name in text
    assert "because" in text and "3 Passed" not in text


def test_durations_and_summary_of_all(suite):
    suite.write("test_r.py", TESTS + "    def test_sleeps():\n        import time; time.sleep(0.05)\n")
    summary = suite.run("-rA", "--durations=2").finished["summary"]
    assert "slowest 2 durations" in summary and "test_r.py::test_sleeps" in summary
    assert "PASSED test_r.py::test_passes" in summary and "shown" in summary
    assert "SKIPPED" in summary and "XFAIL test_r.py::test_xfails" in summary
    # Tracebacks and the last line are the daemon's.
    assert "= FAILURES =" not in summary and "%]" not in summary
    assert not re.search(r"\d+ passed", summary)


def test_skips_only(suite):
    suite.write("test_r.py", TESTS)
    summary = suite.run("-rs").finished["summary"]
    assert "why not" in summary and "PASSED" not in summary


def test_warnings_are_shown_by_default(suite):
    suite.write("test_r.py", TESTS)
    summary = suite.run().finished["summary"]
    assert "warnings summary" in summary and "old thing" in summary and "test_r.py::test_warns" in summary
    assert "FAILED" not in summary


def test_a_quiet_run_has_no_summary(suite):
    suite.write("test_r.py", "def test_passes(): pass\n")
    finished = suite.run().finished
    assert finished["summary"] == "" and finished["exit"] == 0


def lastfailed(suite):
    return set(json.loads((suite.folder / ".pytest_cache/v/cache/lastfailed").read_text()))


def test_last_failed(suite):
    suite.write("test_r.py", "import os\n" + "".join(
        "def test_%d(): assert %d not in (3, 5) or os.path.exists('fixed%d')\n" % (n, n, n) for n in range(8)
    ))
    suite.run()
    assert lastfailed(suite) == {"test_r.py::test_3", "test_r.py::test_5"}
    (suite.folder / "fixed3").write_text("")
    run = suite.run("--lf")
    assert run.outcomes == {"test_r.py::test_3": "passed", "test_r.py::test_5": "failed"}
    assert lastfailed(suite) == {"test_r.py::test_5"}
    (suite.folder / "fixed5").write_text("")
    assert suite.run().finished["exit"] == 0
    assert not (suite.folder / ".pytest_cache/v/cache/lastfailed").exists() or not lastfailed(suite)


def test_failed_first(suite):
    suite.write("test_r.py", "".join("def test_%d(): assert %d != 5\n" % (n, n) for n in range(8)))
    suite.run()
    loader = suite.load("--ff")
    loader.collect()
    assert loader.ids()[0] == "test_r.py::test_5" and len(loader.ids()) == 8
    assert loader.done["options"]["first"] == 1


def test_a_crash_is_a_failure_in_the_loaders_reports(suite):
    suite.write("test_r.py", "import os\ndef test_ok(): pass\ndef test_dies(): os._exit(3)\n")
    run = suite.run("--junitxml=out.xml")
    totals, found = cases(suite.folder / "out.xml")
    assert totals["tests"] == "2" and found["test_r.test_dies"] in (["failure"], ["error"])
    assert lastfailed(suite) == {"test_r.py::test_dies"}
    assert run.finished["exit"] == 1


@pytest.mark.parametrize("isolation", ["slot", "test"])
@pytest.mark.parametrize("flags", [(), ("--junitxml=out.xml",)])
def test_only_the_last_attempt_counts_in_the_loaders_reports(suite, isolation, flags):
    suite.write("test_r.py", """
        import os
        def test_flaky(): assert os.environ["REMUDA_ATTEMPT"] == "2"
        def test_crashes(): os.environ["REMUDA_ATTEMPT"] == "2" or os._exit(3)
        def test_always(): assert 0
    """)
    loader = suite.load(*flags, slots=1, isolation=isolation)
    loader.collect()
    first = attempts(loader, 1, 0, 2, 1)
    assert loader.wait_for("exited")["test"] == 1 and set(first.results) == {0, 2}
    attempts(loader, 2, 1, 0, 2).last()
    assert loader.finish()["exit"] == 1
    assert lastfailed(suite) == {"test_r.py::test_always"}
    if flags:
        totals, found = cases(suite.folder / "out.xml")
        assert (totals["tests"], totals["failures"], totals["errors"]) == ("3", "1", "0")
        assert found["test_r.test_flaky"] == found["test_r.test_crashes"] == []


def attempts(loader, attempt, *tests):
    """A runner that has run these tests, or ended in the attempt."""
    runner = loader.fork()
    runner.send("run", tests=list(tests), of=[[test, attempt] for test in tests])
    while len(runner.results) < len(tests) and runner.pump():
        pass
    return runner


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_test_that_the_daemon_kills_is_not_in_the_loaders_reports(suite, when):
    suite.write("test_r.py", "import time\ndef test_fails(): assert 0\ndef test_hangs(): time.sleep(1000)\n")
    loader = suite.load("--junitxml=out.xml", slots=1)
    loader.collect()
    runner = loader.fork()
    monitor = loader.wait_for("forked")["runner"]
    runner.run(0)
    runner.result(0)
    runner.run(1)
    runner.wait_for("started", test=1)
    if when == "before":
        loader.send("stopped", slot=0)
    os.kill(monitor, signal.SIGKILL)
    loader.wait_for("exited")
    if when == "after":
        loader.send("stopped", slot=0)
    assert loader.finish()["exit"] == 1
    totals, found = cases(suite.folder / "out.xml")
    assert set(found) == {"test_r.test_fails"} and totals["failures"] == "1"
    assert lastfailed(suite) == {"test_r.py::test_fails"}


@pytest.mark.parametrize("isolation", ["slot", "test"])
def test_coverage_is_merged(suite, isolation):
    pytest.importorskip("pytest_cov")
    suite.write("covered.py", """
        def one():
            return 1
        def two():
            return 2
        def three():
            return 3
        def child():
            return 4
    """)
    suite.write("test_c.py", """
        import covered, os
        def test_one(): covered.one()
        def test_two(): covered.two()
    """)
    _, _, serial = suite.serial("--cov=covered", "--cov-report=term-missing")
    expected = next(line.split() for line in serial.splitlines() if line.startswith("covered.py"))
    run = suite.run("--cov=covered", "--cov-report=term-missing", "--cov-report=xml", ahead=1, isolation=isolation)
    line = next(line.split() for line in run.finished["summary"].splitlines() if line.startswith("covered.py"))
    assert line == expected and "75%" in line
    assert (suite.folder / "coverage.xml").exists()
    assert [path.name for path in suite.folder.glob(".coverage*")] == [".coverage"]


def test_coverage_below_its_limit_fails(suite):
    pytest.importorskip("pytest_cov")
    suite.write("covered.py", "def one():\n    return 1\n")
    suite.write("test_c.py", "import covered\ndef test_nothing(): pass\n")
    finished = suite.run("--cov=covered", "--cov-fail-under=90").finished
    assert finished["exit"] == 1 and "90" in finished["summary"]
    assert "exit code 1" in finished["error"]


def test_coverage_of_a_suite_that_must_not_fork(suite):
    pytest.importorskip("pytest_cov")
    suite.write("conftest.py", "import os\nname = os.environ.get('PYTEST_XDIST_WORKER')\n")
    suite.write("covered.py", "def one():\n    return 1\ndef two():\n    return 2\n")
    suite.write("test_c.py", "import covered\ndef test_one(): covered.one()\ndef test_two(): covered.two()\n")
    args = ["--cov=covered", "--cov-report=term-missing"]
    controller = suite.load(*args)
    done = controller.collect()
    for slot in range(2):
        loader = suite.load(
            *args, controller=done["controller"], fork="never", environment={"PYTEST_XDIST_WORKER": "gw%d" % slot}
        )
        loader.collect()
        runner = loader.fork(slot)
        runner.run(slot)
        assert runner.result(slot)["outcome"] == "passed"
        runner.last()
        loader.finish()
    summary = controller.finish()["summary"]
    assert re.search(r"covered.py +4 +0 +100%", summary), summary


def test_hooks_of_the_user_run_in_runner_and_loader(suite):
    suite.write("conftest.py", """
        import os
        loader = os.getpid()
        def note(text, config):
            role = "loader" if os.getpid() == loader else config.workerinput["workerid"]
            with open("notes", "a") as file: file.write(role + " " + text + "\\n")
        def pytest_runtest_protocol(item): note("protocol " + item.name, item.config)
        def pytest_runtest_makereport(item, call): note("makereport " + call.when, item.config)
        seen = []
        def pytest_runtest_logreport(report): seen.append(report.when)
        def pytest_sessionstart(session): note("start", session.config)
        def pytest_sessionfinish(session): note("finish %d" % len(seen), session.config)
        def pytest_unconfigure(config): note("unconfigure", config)
        def pytest_terminal_summary(terminalreporter):
            terminalreporter.write_line("passed here: %d" % len(terminalreporter.stats.get("passed", [])))
    """)
    suite.write("test_x.py", "def test_x(): pass\n")
    run = suite.run(slots=1)
    notes = (suite.folder / "notes").read_text().split("\n")
    assert notes[0] == "loader start"
    assert "gw0 protocol test_x" in notes and notes.count("gw0 makereport call") == 1
    # This conftest names workerinput, so its session hook is meant for workers, too.
    assert "gw0 finish 3" in notes and "loader finish 3" in notes
    assert notes.count("loader unconfigure") == 1 and "gw0 unconfigure" not in notes
    assert "passed here: 1" in run.finished["summary"]


def test_session_hooks_that_know_no_workers_run_once(suite):
    suite.write("conftest.py", """
        def pytest_sessionstart(session): open("up", "a").write("x")
        def pytest_sessionfinish(session): open("down", "a").write("x")
    """)
    suite.write("test_x.py", "def test_x(): pass\ndef test_y(): pass\n")
    suite.run(ahead=1)
    assert (suite.folder / "up").read_text() == (suite.folder / "down").read_text() == "x"


@pytest.mark.parametrize("hook, words", [
    ("pytest_sessionfinish(session): session.exitstatus = 7", "exit code 7"),
    ("pytest_sessionfinish(session): raise ValueError('broken end')", "ValueError: broken end"),
    ("pytest_terminal_summary(terminalreporter): raise ValueError('broken end')", "ValueError: broken end"),
    ("pytest_unconfigure(config): raise ValueError('broken end')", "ValueError: broken end"),
])
def test_an_end_that_no_test_explains_is_told(suite, hook, words):
    suite.write("conftest.py", "def %s\n" % hook)
    suite.write("test_x.py", "def test_x(): pass\n")
    finished = suite.run().finished
    assert finished["exit"] in (1, 7) and words in finished["error"]


def test_failed_tests_explain_their_exit_code(suite):
    suite.write("test_x.py", "def test_x(): assert 0\ndef test_y(): pass\n")
    finished = suite.run().finished
    assert finished["exit"] == 1 and "error" not in finished


def test_a_session_hook_that_fails_in_a_runner_is_a_late_failure(suite):
    suite.write("conftest.py", """
        def pytest_sessionfinish(session):
            assert not hasattr(session.config, "workerinput"), "broken end"
    """)
    suite.write("test_x.py", "def test_x(): pass\n")
    run = suite.run(slots=1)
    assert [(late["fixture"], "broken end" in late["detail"]["longrepr"]) for late in run.late] == [
        ("pytest_sessionfinish", True)
    ]
    assert run.finished["exit"] == 1


@pytest.mark.parametrize("scope", ["module", "session"])
def test_a_late_teardown_is_an_error_in_the_loaders_reports(suite, scope):
    suite.write("test_x.py", """
        import pytest
        @pytest.fixture(scope="%s", autouse=True)
        def wide():
            yield
            raise ValueError("broken teardown")
        def test_x(): pass
        def test_y(): pass
    """ % scope)
    run = suite.run("--junitxml=ours.xml", slots=1)
    assert len(run.late) == 1 and run.finished["exit"] == 1 and "error" not in run.finished
    suite.serial("--junitxml=theirs.xml")
    ours, theirs = (cases(suite.folder / name)[0] for name in ("ours.xml", "theirs.xml"))
    assert (ours["errors"], ours["failures"]) == (theirs["errors"], theirs["failures"]) == ("1", "0")
    assert "broken teardown" in (suite.folder / "ours.xml").read_text()


def test_maxfail_does_not_stop_the_runner_or_the_loader(suite):
    suite.write("test_x.py", "def test_a(): assert 0\ndef test_b(): pass\ndef test_c(): assert 0\n")
    run = suite.run("-x", slots=1)
    assert list(run.outcomes.values()) == ["failed", "passed", "failed"]
    assert run.finished["exit"] == 1 and "stopping after" not in run.finished["summary"]


def test_stepwise_remembers_where_to_go_on(suite):
    suite.write("test_x.py", "def test_a(): pass\ndef test_b(): assert 0\ndef test_c(): pass\n")
    loader = suite.load("--stepwise")
    loader.collect()
    runner = loader.fork()
    runner.run(0, 1)
    runner.result(1)
    runner.last()
    assert loader.finish()["exit"] == 1
    again = suite.load("--stepwise")
    again.collect()
    assert again.ids() == ["test_x.py::test_b", "test_x.py::test_c"]
