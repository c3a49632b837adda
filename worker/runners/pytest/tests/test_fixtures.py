"""Wide fixtures: set up as often as the plan needs, kept while nothing is known, torn down once."""

import pytest

PYTEST = tuple(int(part) for part in pytest.__version__.split(".")[:1])
LOGGING = """
    import os, pytest

    def note(text):
        with open(os.environ["NOTES"], "a") as file:
            file.write(text + "\\n")

    @pytest.fixture(scope="session")
    def wide():
        note("session up")
        yield
        note("session down")

    @pytest.fixture(scope="module")
    def module(wide, request):
        note("up " + request.node.name)
        yield
        note("down " + request.node.name)
"""
TESTS = """
    import pytest
    @pytest.fixture(scope="class")
    def klass(request):
        from conftest import note
        note("up " + request.node.name)
        yield
        note("down " + request.node.name)
    def test_1(module): pass
    class TestOne:
        def test_a(self, module, klass): pass
        def test_b(self, module, klass): pass
    def test_2(module): pass
"""


def noting(suite, **files):
    suite.write("conftest.py", LOGGING)
    for name, text in files.items():
        suite.write(name + ".py", text)
    return {"environment": {"NOTES": str(suite.folder / "notes")}}


def notes(suite):
    return (suite.folder / "notes").read_text().split("\n")[:-1]


def test_a_known_queue_sets_each_scope_up_once(suite):
    settings = noting(suite, test_x=TESTS, test_y=TESTS)
    suite.run(slots=1, ahead=64, **settings)
    found = notes(suite)
    assert found.count("session up") == found.count("session down") == 1
    assert found.count("up test_x.py") == found.count("down test_x.py") == 1
    assert found.count("up TestOne") == found.count("down TestOne") == 2
    assert found[-1] == "session down"


def test_scopes_wait_while_the_next_test_is_unknown(suite):
    settings = noting(suite, test_x=TESTS, test_y=TESTS)
    loader = suite.load(**settings)
    loader.collect()
    runner = loader.fork()
    runner.run(loader.number("test_x.py::test_1"))
    runner.result(loader.number("test_x.py::test_1"))
    runner.send("idle")
    assert notes(suite) == ["session up", "up test_x.py"]
    runner.run(loader.number("test_x.py::TestOne::test_a"))
    runner.result(loader.number("test_x.py::TestOne::test_a"))
    assert notes(suite) == ["session up", "up test_x.py", "up TestOne"]
    runner.run(loader.number("test_x.py::test_2"))
    runner.result(loader.number("test_x.py::test_2"))
    assert notes(suite)[3:] == ["down TestOne"]
    runner.run(loader.number("test_y.py::test_1"))
    runner.result(loader.number("test_y.py::test_1"))
    assert notes(suite)[4:] == ["down test_x.py", "up test_y.py"]
    runner.last()
    assert notes(suite)[6:] == ["down test_y.py", "session down"]
    assert runner.late == []


def test_an_order_that_jumps_tears_down_what_it_leaves(suite):
    settings = noting(suite, test_x=TESTS, test_y=TESTS)
    names = ["test_x.py::test_1", "test_y.py::test_2", "test_x.py::TestOne::test_b", "test_x.py::test_2"]
    run = suite.run(slots=1, order=lambda loader: [loader.number(name) for name in names], **settings)
    assert set(run.outcomes.values()) == {"passed"}
    assert notes(suite) == [
        "session up", "up test_x.py", "down test_x.py", "up test_y.py", "down test_y.py",
        "up test_x.py", "up TestOne", "down TestOne", "down test_x.py", "session down",
    ]


def test_isolation_gives_each_test_all_its_fixtures(suite):
    settings = noting(suite, test_x=TESTS)
    suite.run(slots=1, isolation="test", **settings)
    found = notes(suite)
    assert found.count("session up") == found.count("session down") == 4
    assert found.count("up TestOne") == found.count("down TestOne") == 2


FAILING = """
    import pytest
    @pytest.fixture(scope="module")
    def database():
        yield
        print("closing")
        raise OSError("cannot close")
    def test_one(database): pass
"""


def test_a_late_teardown_failure_names_the_fixture(suite):
    suite.write("test_x.py", FAILING)
    suite.write("test_y.py", "def test_y(): pass\n")
    loader = suite.load()
    loader.collect()
    runner = loader.fork()
    runner.run(loader.number("test_one"))
    assert runner.result(loader.number("test_one"))["outcome"] == "passed"
    runner.run(loader.number("test_y"))
    assert runner.result(loader.number("test_y"))["outcome"] == "passed"
    late, = runner.late
    assert (late["fixture"], late["scope"], late["after"]) == ("database", "module", loader.number("test_one"))
    assert late["detail"]["message"] == "OSError: cannot close"
    assert late["detail"]["sections"] == [["Captured stdout teardown", "closing\n"]]
    runner.last()
    assert len(runner.late) == 1


def test_a_late_failure_after_last_comes_before_done(suite):
    suite.write("test_x.py", FAILING + """
    @pytest.fixture(scope="session")
    def farm():
        yield
        raise KeyError("farm")
    def test_two(database, farm): pass
""")
    loader = suite.load()
    loader.collect()
    runner = loader.fork()
    runner.run(loader.number("test_two"))
    runner.result(loader.number("test_two"))
    runner.last()
    told = {late["fixture"] for late in runner.late}
    # pytest 7 raises only the first of several errors of one teardown.
    assert told == {"database", "farm"} or (PYTEST < (8,) and told < {"database", "farm"} and told)
    assert runner.messages[-1]["type"] == "done"


def test_a_known_end_blames_the_last_test_as_pytest_does(suite):
    suite.write("test_x.py", FAILING)
    serial, _, _ = suite.serial()
    loader = suite.load()
    loader.collect()
    runner = loader.fork()
    runner.send("run", tests=[0])
    runner.send("last")
    while runner.pump():
        pass
    outcomes = {loader.tests[number]["id"]: results[-1]["outcome"] for number, results in runner.results.items()}
    # `last` may arrive with the test or while it runs; the failure is told either way, once.
    assert (outcomes == serial) != bool(runner.late)


def test_wide_setup_is_told_apart(suite):
    suite.write("test_x.py", """
        import time, pytest
        @pytest.fixture(scope="session")
        def outer():
            time.sleep(0.05)
        @pytest.fixture(scope="module")
        def inner(request):
            request.getfixturevalue("outer")
            time.sleep(0.02)
        def test_one(inner): pass
        def test_two(inner): pass
    """)
    run = suite.run(slots=1)
    wide = dict(map(tuple, run.results["test_x.py::test_one"]["wide"]))
    assert 45000 < wide["session"] and 18000 < wide["module"] < 45000
    assert "wide" not in run.results["test_x.py::test_two"]


def test_started_is_told_when_the_queue_was_empty(suite):
    suite.write("test_x.py", "def test_1(): pass\ndef test_2(): pass\ndef test_3(): pass\n")
    loader = suite.load()
    loader.collect()
    runner = loader.fork()
    runner.run(0, 1)
    runner.result(1)
    runner.run(2)
    runner.result(2)
    started = [message["test"] for message in runner.messages if message["type"] == "started"]
    # 1 only if the machine was so busy that test 0 took longer than 50 ms.
    assert started in ([0, 2], [0, 1, 2])


def test_dropped_tests_do_not_run(suite):
    suite.write("test_x.py", """
        import os, pytest
        def test_waits():
            # The daemon drops the others before it lets this one go on.
            while not os.path.exists("go"): pass
        def test_dropped(): pass
        def test_kept(): pass
    """)
    loader = suite.load()
    loader.collect()
    runner = loader.fork()
    runner.run(0, 1, 2)
    runner.wait_for("started", test=0)
    runner.send("drop", tests=[0, 1])
    (suite.folder / "go").write_text("")
    assert runner.result(2)["outcome"] == "passed"
    assert runner.wait_for("dropped")["tests"] == [1]
    runner.last()
    assert sorted(runner.results) == [0, 2]
