"""What a runner remembers between tests (unchanging.py) is what pytest would have found out again."""

import os
import subprocess
import sys

import pytest

CONFTEST = """
    import os, pytest
    def tell(*words):
        with open(os.environ["TOLD"], "a") as file:
            file.write(repr(words) + "\\n")
    def pytest_runtest_logreport(report):
        if report.when == "call":
            tell(report.nodeid, report.location, sorted(report.keywords))
    class Late:
        def pytest_runtest_teardown(self, item):
            tell("late", item.nodeid)
    @pytest.fixture
    def late(pytestconfig):
        plugin = Late()
        pytestconfig.pluginmanager.register(plugin)
        yield
        pytestconfig.pluginmanager.unregister(plugin)
"""


def told(suite, way, *args):
    """What the conftest files of one run told, sorted: runners take turns as they like."""
    path = suite.folder / ("told-" + way)
    path.write_text("")
    os.environ["TOLD"] = str(path)
    try:
        if way == "serial":
            command = [sys.executable, "-m", "pytest", "-q"] + suite.quiet + list(args)
            subprocess.run(command, cwd=str(suite.folder), stdout=subprocess.DEVNULL, check=False)
        else:
            suite.run(*args)
    finally:
        del os.environ["TOLD"]
    return sorted(path.read_text().splitlines())


def same_as_serial(suite, *args):
    found = told(suite, "runners", *args)
    # A loader may replay reports to the same conftest.py, after the runners had them.
    assert sorted(set(found)) == told(suite, "serial", *args)
    return found


def test_locations(suite):
    suite.write("conftest.py", CONFTEST)
    suite.write("test_many.py", '''
        import functools, unittest, pytest
        def decorated(function):
            @functools.wraps(function)
            def around(*args, **named):
                return function(*args, **named)
            return around
        @pytest.mark.parametrize("x", ["a", "b.c", "[d]", ""])
        def test_plain(x): pass
        @pytest.mark.parametrize("x", [1, 2])
        @decorated
        def test_decorated(x): pass
        class Base:
            @pytest.mark.parametrize("x", [1, 2])
            def test_inherited(self, x): pass
            @staticmethod
            def test_static(): pass
        class TestOne(Base): pass
        class TestTwo(Base):
            class TestNested(Base): pass
        class TestUnit(unittest.TestCase):
            def test_unit(self):
                """
                >>> 1 + 1
                2
                """
        def make(number):
            def test(): return None
            return test
        test_made_one, test_made_two = make(1), make(2)
        test_alias = test_plain
    ''')
    found = same_as_serial(suite, "--doctest-modules")
    assert any("TestTwo.TestNested.test_inherited[2]" in line for line in found)


def test_hooks_of_conftest_files(suite):
    suite.write("conftest.py", CONFTEST)
    for folder in ("one", "two", "two/deep"):
        suite.write(folder + "/conftest.py", """
            import os
            def pytest_runtest_setup(item):
                with open(os.environ["TOLD"], "a") as file:
                    file.write(repr((%r, item.nodeid)) + "\\n")
        """ % folder)
        suite.write("%s/test_%s.py" % (folder, folder.replace("/", "_")), """
            import pytest
            @pytest.mark.parametrize("x", range(4))
            def test_x(x): pass
            def test_registers_a_plugin(late): pass
            def test_has_none_any_more(): pass
        """)
    found = same_as_serial(suite)
    assert len([line for line in found if line.startswith("('two', ")]) == 2 * 6
    assert len([line for line in found if line.startswith("('late', ")]) == 3


def test_arguments_of_fixtures(suite):
    suite.write("test_x.py", """
        import functools, unittest.mock, pytest
        @pytest.fixture
        def plain(request): return request.node.name
        @pytest.fixture
        def with_default(plain, unknown=3): return plain, unknown
        @pytest.fixture
        def made(request):
            return [request.getfixturevalue(name) for name in ("plain", "with_default")]
        def make(count):
            if count:
                return pytest.fixture(lambda plain: ("one", plain))
            return pytest.fixture(lambda: "none")
        one, none = make(1), make(0)
        @pytest.fixture
        @unittest.mock.patch("os.getcwd")
        def mocked(getcwd, plain): return plain
        @pytest.mark.parametrize("x", range(3))
        def test_x(x, made, one, none, mocked, request):
            name = request.node.name
            assert made == [name, (name, 3)] and one == ("one", name) and none == "none" and mocked == name
        def test_functions_that_look_alike():
            from _pytest import compat, fixtures
            def make(count):
                if count == 0: return lambda: None
                if count == 1: return lambda a: None
                if count == 2: return lambda a, b=count: None
                if count == 3: return lambda a, *, c: None
                if count == 4: return lambda a, *, c=count: None
                return unittest.mock.patch("os.getcwd")(lambda getcwd, a: None)
            for repeated in range(2):
                for count in range(6):
                    function = make(count)
                    wanted = compat.getfuncargnames(function, name="x")
                    assert fixtures.getfuncargnames(function, name="x") == wanted
                    if count == 1:
                        function.__defaults__ = (5,)
                        assert fixtures.getfuncargnames(function, name="x") == ()
    """)
    run = suite.run()
    assert set(run.outcomes.values()) == {"passed"} and len(run.outcomes) == 4, run.outcomes


@pytest.mark.parametrize("wide", [True, False])
def test_order_and_names_of_parameters(suite, wide):
    suite.write("named/conftest.py", """
        def pytest_make_parametrize_id(config, val, argname):
            return "%s=%d" % (argname, val) if isinstance(val, int) else None
    """)
    suite.write("test_x.py", """
        import pytest
        class Value: pass
        @pytest.fixture(params=[1, 2], scope="%s")
        def wide(request): return request.param
        @pytest.mark.parametrize("x", [1, None, "a", 2.5, Value(), (1, 2), b"y", len])
        def test_a(wide, x): pass
        @pytest.mark.parametrize("x", [3, 3])
        def test_b(x): pass
        class TestC:
            def test_c(self, wide): pass
            def test_d(self): pass
    """ % ("module" if wide else "function"))
    suite.write("named/test_y.py", (suite.folder / "test_x.py").read_text())
    command = [sys.executable, "-m", "pytest", "-q", "--collect-only"] + suite.quiet
    listed = subprocess.run(command, cwd=str(suite.folder), stdout=subprocess.PIPE, check=True).stdout.decode()
    loader = suite.load()
    loader.collect()
    assert loader.ids() == [line for line in listed.splitlines() if "::" in line]
    assert len(loader.ids()) == 2 * (16 + 2 + 2 + 1)
