"""What was there when the suite was loaded is there for its tests, too, and what happened then is told once."""

import sys

import pytest

OLD = tuple(int(part) for part in pytest.__version__.split(".")[:2]) < (8, 4)


@pytest.mark.parametrize("args", [[], ["--capture=sys"], ["-s"], ["--isolation"], ["--no-fork"]])
def test_streams_taken_at_import_are_those_of_the_tests(suite, args):
    suite.write("test_x.py", """
        import logging, sys
        OUT = sys.stdout
        log = logging.getLogger("x"); log.addHandler(logging.StreamHandler()); log.propagate = False
        def emit(text, to=sys.stdout): print(text, file=to)
        def test_same(): assert OUT is sys.stdout
        def test_emit(): emit("hello")
        def test_log(): log.warning("by handler"); assert 0
        def test_child():
            import subprocess
            subprocess.run(["echo", "of a child"])
            assert 0
    """)
    settings = {"isolation": "test"} if args == ["--isolation"] else {"fork": "never"} if args == ["--no-fork"] else {}
    run = suite.run(*[arg for arg in args if arg not in ("--isolation", "--no-fork")], **settings)
    assert run.outcomes == {
        "test_x.py::test_same": "passed", "test_x.py::test_emit": "passed",
        "test_x.py::test_log": "failed", "test_x.py::test_child": "failed",
    }
    if args == ["-s"]:
        return
    results = sorted(run.results.values(), key=lambda result: result["test"])
    sections = [result.get("detail", {}).get("sections", []) for result in results]
    assert sections[1] == [["Captured stdout call", "hello\n"]]
    assert ["Captured stderr call", "by handler\n"] in sections[2]
    if args != ["--capture=sys"]:
        assert sections[3] == [["Captured stdout call", "of a child\n"]]


def test_the_collector_knows_all_objects(suite):
    suite.write("conftest.py", """
        import gc
        class Kept: pass
        kept = Kept(); holder = [kept]
        def pytest_terminal_summary(terminalreporter):
            terminalreporter.write_line("holders %d" % (holder in gc.get_referrers(kept)))
    """)
    suite.write("test_x.py", """
        import gc, weakref
        from gc import collect
        class Node: pass
        kept = Node(); holder = [kept]
        class Leak: pass
        leak = Leak(); leak.self = leak
        def test_referrers(): assert holder in gc.get_referrers(kept)
        def test_objects(): assert any(isinstance(o, Node) for o in gc.get_objects())
        def test_freeze(): assert gc.get_freeze_count() == 0
        def test_collect():
            global leak
            seen = weakref.ref(leak); leak = None; collect(); assert seen() is None
    """)
    run = suite.run(isolation="test")
    assert set(run.outcomes.values()) == {"passed"} and len(run.outcomes) == 4, run.outcomes
    assert "holders 1" in run.finished["summary"]


@pytest.mark.skipif(OLD, reason="pytest keeps what could not be raised since 8.4")
@pytest.mark.parametrize("isolation", ["slot", "test"])
def test_what_could_not_be_raised_at_import_is_blamed_once(suite, isolation):
    suite.write("test_x.py", """
        import pytest
        class Boom:
            def __del__(self): raise RuntimeError("leak at import")
        Boom()
        @pytest.mark.parametrize("i", range(6))
        def test_a(i): pass
    """)
    run = suite.run("-W", "error::pytest.PytestUnraisableExceptionWarning", isolation=isolation)
    assert sorted(run.outcomes.values()) == ["errored"] + ["passed"] * 5
    assert "error" not in run.finished


def test_sections_that_a_hook_adds_to_any_report_are_told(suite):
    suite.write("conftest.py", """
        import pytest
        @pytest.hookimpl(hookwrapper=True)
        def pytest_runtest_makereport(item, call):
            report = (yield).get_result()
            report.sections.append(("page of " + call.when, "TEXT"))
    """)
    suite.write("test_x.py", "def test_x():\n    print('out')\n    assert 0\n")
    (result,) = suite.run().results.values()
    assert sorted(result["detail"]["sections"]) == [
        ["Captured stdout call", "out\n"], ["page of call", "TEXT"], ["page of setup", "TEXT"], ["page of teardown", "TEXT"],
    ]


def test_hooks_of_a_folder_hear_of_its_tests_alone(suite):
    for folder in "ab":
        suite.write("%s/conftest.py" % folder, """
            from pathlib import Path
            told = Path(__file__).parent / "told"
            def pytest_runtest_logreport(report):
                with open(told, "a") as file: file.write(report.nodeid + "\\n")
            def pytest_warning_recorded(nodeid):
                with open(told, "a") as file: file.write(nodeid + "\\n")
        """)
        suite.write("%s/test_%s.py" % (folder, folder), """
            import warnings
            def test_good(): warnings.warn("hm")
            def test_bad(): assert 0
        """)
    suite.run("-rA")
    for folder in "ab":
        told = (suite.folder / folder / "told").read_text().splitlines()
        assert {name.partition("::")[0] for name in told} == {"%s/test_%s.py" % (folder, folder)}


@pytest.mark.parametrize("where", ["test", "teardown", "report"])
@pytest.mark.parametrize("name", ["shouldfail", "shouldstop"])
def test_a_session_that_is_told_to_stop_says_so(suite, where, name):
    suite.write("conftest.py", """
        import pytest
        session = None
        def pytest_sessionstart(session): globals()["session"] = session
        def pytest_runtest_logreport(report):
            if %r == "report" and report.when == "call": session.%s = "critical"
        @pytest.fixture(autouse=True)
        def stopping(request):
            yield
            if %r == "teardown": request.session.%s = "critical"
    """ % (where, name, where, name))
    suite.write("test_x.py", """
        def test_a(request):
            if %r == "test": request.session.%s = "critical"
        def test_b(): pass
    """ % (where, name))
    run = suite.run()
    assert run.stops[0] == {"type": "stop", "reason": "critical", "ends": True}
    assert len(run.stops) <= 2, "each runner says it once"
