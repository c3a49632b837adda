"""What the user says on the command line or in addopts: understood, neutralised, reported."""

import json
from xml.etree import ElementTree

import pytest

TESTS = """
    import pytest
    @pytest.mark.parametrize("x", range(4))
    def test_x(x): assert x != 2
    class TestC:
        def test_m(self): pass
    @pytest.mark.slow
    def test_slow(): pass
"""


@pytest.fixture
def load(suite):
    suite.write("test_x.py", TESTS)
    suite.write("pytest.ini", "[pytest]\nmarkers = slow\n")

    def options(*args, **settings):
        loader = suite.load(*args, **settings)
        done = loader.collect()
        assert done["type"] == "manifest_done", done
        options.loader = loader
        return done["options"]

    return options


@pytest.mark.parametrize("args, expected", [
    (["-n", "3"], {"slots": 3}),
    (["-n3"], {"slots": 3}),
    (["-n", "auto"], {"slots": "auto"}),
    (["--numprocesses=logical"], {"slots": "auto"}),
    (["-n", "0"], {"slots": 1}),
    (["-n", "8", "--maxprocesses=2"], {"slots": 2}),
    (["--tx", "3*popen", "--dist=loadscope"], {"slots": 3, "group_by": "class"}),
    (["-n", "2", "--dist", "loadfile"], {"slots": 2, "group_by": "file"}),
    (["-n", "2", "--dist=load"], {"slots": 2}),
    (["-x"], {"maxfail": 1}),
    (["--maxfail=3"], {"maxfail": 3}),
    (["--durations=5"], {"durations": 5, "replay": True}),
    (["-vv"], {"verbosity": 2}),
    (["-q"], {"verbosity": -1}),
    (["-rA"], {"report_chars": "A", "replay": True}),
    (["-s"], {"capture": "no", "live": True}),
    (["--capture=tee-sys"], {"live": True}),
    (["--setup-show"], {"live": True}),
    (["--tb=short"], {"tb": "short"}),
    (["--stepwise"], {"slots": 1, "ordered": True, "maxfail": 1}),
    ([], {"replay": False}),
])
@pytest.mark.parametrize("place", ["line", "addopts"])
def test_options_are_reported(suite, load, args, expected, place):
    if place == "addopts":
        suite.write("pytest.ini", "[pytest]\nmarkers = slow\naddopts = %s\n" % " ".join(args))
        args = []
    found = load(*args)
    assert {name: found.get(name) for name in expected} == expected
    assert len(load.loader.tests) == 6


def test_the_users_own_number_of_workers(suite, load):
    pytest.importorskip("xdist")
    suite.write("conftest.py", "def pytest_xdist_auto_num_workers(config): return 7\n")
    assert load("-n", "auto")["slots"] == 7


def test_xdist_is_never_started(suite, load):
    pytest.importorskip("xdist")
    suite.write("conftest.py", """
        def pytest_configure_node(node): node.workerinput["given"] = node.gateway.id
        def pytest_sessionstart(session): assert not session.config.pluginmanager.hasplugin("dsession")
    """)
    suite.write("test_y.py", """
        def test_y(request, worker_id, testrun_uid):
            assert request.config.workerinput["given"] == worker_id
            assert testrun_uid == "run-1"
            import xdist
            assert xdist.is_xdist_worker(request)
    """)
    run = suite.run("-n", "2", "--dist=load", "test_y.py")
    assert run.outcomes == {"test_y.py::test_y": "passed"}


def test_groups_of_xdist_are_told(suite):
    suite.write("test_g.py", """
        import pytest
        @pytest.mark.xdist_group("board")
        def test_a(): pass
        @pytest.mark.xdist_group(name="board")
        def test_b(): pass
        def test_c(): pass
    """)
    loader = suite.load("-n", "2", "--dist=loadgroup")
    assert loader.collect()["options"]["group_by"] == "group"
    assert [test.get("group") for test in loader.tests] == ["board", "board", None]


def test_a_timeout_without_its_plugin_is_remudas(load):
    try:
        import pytest_timeout  # noqa: F401
    except ImportError:
        assert load("--timeout=7")["timeout"] == 7
    else:
        assert "timeout" not in load("--timeout=7")


def test_an_option_of_the_users_conftest_wins(suite, load):
    suite.write("conftest.py", "def pytest_addoption(parser): parser.addoption('--group', '--tests', dest='mine')\n")
    assert load("--group=x")


@pytest.mark.parametrize("args", [
    ["-k", "x and not 2"], ["-m", "slow"], ["-m", "not slow"], ["test_x.py::TestC"],
    ["--deselect", "test_x.py::test_slow"], ["test_x.py::test_x[1]", "test_x.py::test_slow"],
    ["-c", "other.ini"], ["--rootdir=."], ["-o", "python_functions=test_slow"],
])
def test_selection_is_pytests(suite, load, args):
    suite.write("other.ini", "[pytest]\npython_functions = test_slow\n")
    serial, _, _ = suite.serial(*args)
    run = suite.run(*args)
    assert run.outcomes == serial and serial


def test_the_manifest_tells_place_and_scope(load):
    load()
    tests = {test["id"]: test for test in load.loader.tests}
    assert tests["test_x.py::test_slow"]["scope"] == "test_x.py"
    assert tests["test_x.py::TestC::test_m"] == {
        "id": "test_x.py::TestC::test_m", "file": "test_x.py", "scope": "test_x.py::TestC", "line": 6,
    }


@pytest.mark.parametrize("plugin", ["capture", "terminal", "cacheprovider", "junitxml", "subtests"])
def test_plugins_of_pytest_itself_may_be_left_out(suite, plugin):
    suite.write("test_x.py", "def test_x(): print('words')\ndef test_y(): assert 0\n")
    run = suite.run("-p", "no:" + plugin)
    assert run.outcomes == {"test_x.py::test_x": "passed", "test_x.py::test_y": "failed"}
    assert run.finished["exit"] == 1 and "error" not in run.finished


def test_deselected_are_counted(suite, load):
    load("-k", "slow")
    assert load.loader.done["deselected"] == 5 and load.loader.done["count"] == 1


def test_collect_only_lists_as_pytest_does(suite):
    suite.write("test_x.py", "def test_a(): pass\n")
    answer = suite.load("--co", "-q").collect()
    assert answer["type"] == "manifest_failure" and answer["exit"] == 0
    assert "test_x.py::test_a" in answer["output"] and "1 test collected" in answer["output"]


def test_a_plan_of_the_fixtures_runs_nothing(suite):
    suite.write("test_x.py", "def test_a(tmp_path): assert 0\n")
    answer = suite.load("--setup-plan").collect()
    assert answer["type"] == "manifest_failure" and answer["exit"] == 0
    assert "SETUP    F tmp_path" in answer["output"]


def test_collection_errors_are_pytests_own(suite):
    suite.write("test_bad.py", "import nothing_of_that_name\n")
    failure = suite.load().collect()
    assert failure["type"] == "manifest_failure" and failure["exit"] == 2
    assert "No module named 'nothing_of_that_name'" in failure["error"]["message"]
    assert "ERROR collecting test_bad.py" in failure["output"] and "1 error during collection" in failure["output"]


def test_continue_on_collection_errors(suite):
    suite.write("test_bad.py", "import nothing_of_that_name\n")
    suite.write("test_good.py", "def test_good(): pass\n")
    run = suite.run("--continue-on-collection-errors")
    assert run.outcomes == {"test_good.py::test_good": "passed", "test_bad.py": "errored"}
    detail = run.results["test_bad.py"]["detail"]
    assert detail["message"] == "ModuleNotFoundError: No module named 'nothing_of_that_name'"
    assert "import nothing_of_that_name" in detail["longrepr"]
    assert run.finished["exit"] == 1 and "error" not in run.finished


@pytest.mark.parametrize("isolation", ["slot", "test"])
def test_a_module_that_is_skipped_as_a_whole(suite, isolation):
    suite.write("test_away.py", "import pytest\npytest.skip('not here', allow_module_level=True)\n")
    suite.write("test_good.py", "def test_a(): pass\ndef test_b(): pass\n")
    run = suite.run("--junitxml=ours.xml", isolation=isolation, order=lambda loader: [0, 2, 1])
    good = ["test_good.py::test_a", "test_good.py::test_b"]
    assert run.outcomes == dict({name: "passed" for name in good}, **{"test_away.py": "skipped"})
    assert run.results["test_away.py"]["detail"]["reason"] == "not here"
    suite.serial("--junitxml=theirs.xml")
    assert junit_names(suite.folder / "ours.xml") == junit_names(suite.folder / "theirs.xml")


def junit_names(path):
    return sorted((case.get("classname"), case.get("name")) for case in ElementTree.parse(str(path)).iter("testcase"))


def test_a_broken_conftest(suite):
    suite.write("conftest.py", "1 / 0\n")
    suite.write("test_x.py", "def test_x(): pass\n")
    failure = suite.load().collect()
    assert failure["type"] == "manifest_failure" and failure["exit"] == 4
    assert "ZeroDivisionError" in failure["output"]


@pytest.mark.parametrize("args, code, text", [
    (["--no-such-option"], 4, "unrecognized arguments: --no-such-option"),
    (["no_such_file.py"], 4, "no_such_file.py"),
    (["-k", "nothing"], 5, "no tests collected"),
    (["--version"], 0, ""),
])
def test_what_gives_no_manifest(suite, load, args, code, text):
    failure = suite.load(*args).collect()
    assert failure["type"] == "manifest_failure" and failure["exit"] == code
    assert text in failure["error"]["message"]
    assert "pytest.main()" not in failure["output"]


def test_exit_while_collecting(suite):
    suite.write("conftest.py", """
        import pytest
        def pytest_collection_modifyitems(): pytest.exit("enough", returncode=77)
    """)
    suite.write("test_x.py", "def test_x(): pass\n")
    failure = suite.load().collect()
    assert failure["exit"] == 77 and "enough" in failure["output"]


def test_exit_in_a_test_asks_to_stop(suite):
    suite.write("test_x.py", "import pytest\ndef test_x(): pytest.exit('enough', returncode=9)\ndef test_y(): pass\n")
    loader = suite.load()
    loader.collect()
    runner = loader.fork()
    runner.run(0, 1)
    assert runner.result(0)["outcome"] == "errored"
    stop = runner.wait_for("stop")
    assert "enough" in stop["reason"] and stop["exit"] == 9
    assert runner.result(1)["outcome"] == "passed"


def test_live_output_with_s(suite):
    suite.write("test_x.py", """
        import os, sys
        def test_x():
            print("from python"); sys.stderr.write("to stderr\\n"); os.system("echo from a child")
    """)
    loader = suite.load("-s")
    loader.collect()
    runner = loader.fork()
    runner.run(0)
    assert "detail" not in runner.result(0)
    runner.last()
    assert "from python" in runner.printed() and "from a child" in runner.printed()
    assert "to stderr" in runner.complained()


def test_sys_path_and_argv_are_pytests(suite):
    suite.write("test_x.py", """
        import json, os, sys
        def test_x():
            told = {"path": sys.path[:2], "argv": sys.argv, "cwd": os.getcwd()}
            with open(os.environ.get("OUT", "serial.out"), "w") as file: json.dump(told, file)
    """)
    suite.serial("test_x.py")
    for module in (True, False):
        suite.run("test_x.py", module=module, environment={"OUT": "ours.out"})
        ours = json.loads((suite.folder / "ours.out").read_text())
        serial = json.loads((suite.folder / "serial.out").read_text())
        assert ours["cwd"] == serial["cwd"] and ours["argv"][-1] == "test_x.py"
        # rootdir/conftest insertion comes first; then the folder that Python itself puts there.
        assert ours["path"][0] == serial["path"][0]
        if module:
            assert ours["argv"][0] == serial["argv"][0]
        else:
            assert ours["argv"][0].endswith("/pytest")
            assert ours["path"][1] == ours["argv"][0].rpartition("/")[0]
