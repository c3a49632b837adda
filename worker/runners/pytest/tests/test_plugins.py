"""The user's other plugins behave in a forked runner as in a worker of xdist."""

import pytest


def test_django_databases_are_one_per_runner(suite):
    pytest.importorskip("pytest_django")
    suite.write("pytest.ini", "[pytest]\nDJANGO_SETTINGS_MODULE = settings\npythonpath = .\n")
    suite.write("settings.py", """
        DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "main.db",
                                 "TEST": {"NAME": "test.db"}}}
        INSTALLED_APPS = ["django.contrib.contenttypes", "django.contrib.auth"]
        SECRET_KEY = "x"
        DEFAULT_AUTO_FIELD = "django.db.models.AutoField"
    """)
    suite.write("test_db.py", """
        import pytest
        from django.contrib.auth.models import User
        from django.db import connection
        @pytest.mark.django_db
        @pytest.mark.parametrize("x", range(6))
        def test_user(x, request):
            assert User.objects.count() == 0
            User.objects.create(username="u")
            assert request.config.workerinput["workerid"] in str(connection.settings_dict["NAME"])
        def test_blocked():
            with pytest.raises(RuntimeError): User.objects.count()
    """)
    serial_outcomes = {"test_db.py::test_user[%d]" % x: "passed" for x in range(6)}
    run = suite.run(ahead=1)
    assert run.loader.done["fork"], run.loader.done["why"]
    assert run.outcomes == dict(serial_outcomes, **{"test_db.py::test_blocked": "passed"})


def test_django_settings_that_read_the_slot_do_not_fork(suite):
    pytest.importorskip("pytest_django")
    suite.write("pytest.ini", "[pytest]\nDJANGO_SETTINGS_MODULE = settings\npythonpath = .\n")
    suite.write("settings.py", """
        import os
        DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3",
                                 "NAME": "main%s.db" % os.environ.get("TEST_ENV_NUMBER", "")}}
        SECRET_KEY = "x"
    """)
    suite.write("test_db.py", "def test_x(): pass\n")
    done = suite.load().collect()
    assert done["fork"] is False and "settings.py:4" in done["why"] and "TEST_ENV_NUMBER" in done["why"]


def test_asyncio(suite):
    pytest.importorskip("pytest_asyncio", minversion="0.24")
    suite.write("pytest.ini", "[pytest]\nasyncio_mode = auto\n")
    suite.write("test_a.py", """
        import asyncio, pytest, pytest_asyncio
        @pytest_asyncio.fixture(scope="module", loop_scope="module")
        async def shared():
            await asyncio.sleep(0)
            yield 5
        @pytest.mark.asyncio(loop_scope="module")
        async def test_one(shared): assert shared == 5
        @pytest.mark.asyncio(loop_scope="module")
        async def test_two(shared): await asyncio.sleep(0.001)
        async def test_bad(): assert 0
    """)
    serial, _, _ = suite.serial()
    run = suite.run()
    assert run.loader.done["fork"] and run.outcomes == serial


@pytest.mark.parametrize("method", ["signal", "thread"])
def test_timeout(suite, method):
    pytest.importorskip("pytest_timeout")
    suite.write("test_t.py", """
        import time
        def test_hangs(): time.sleep(1000)
        def test_fine(): pass
    """)
    run = suite.run("--timeout=0.3", "--timeout-method=" + method, slots=1)
    assert run.loader.done["fork"]
    assert run.outcomes["test_t.py::test_fine"] == "passed"
    if method == "signal":
        assert run.outcomes["test_t.py::test_hangs"] == "failed"
        assert "Timeout" in run.results["test_t.py::test_hangs"]["detail"]["message"]
    else:
        assert list(run.crashed) == ["test_t.py::test_hangs"]


def test_randomly(suite):
    pytest.importorskip("pytest_randomly")
    suite.write("test_r.py", """
        import random, pytest
        @pytest.mark.parametrize("x", range(8))
        def test_r(x): open("seen", "a").write("%.17f\\n" % random.random())
    """)
    suite.quiet = []
    run = suite.run()
    assert len(run.outcomes) == 8


def test_random_numbers_differ_between_forks(suite):
    suite.write("test_r.py", """
        import random, pytest
        @pytest.mark.parametrize("x", range(4))
        def test_r(x): open("seen", "a").write("%.17f\\n" % random.random())
    """)
    suite.run(isolation="test", ahead=1)
    suite.run(ahead=1)
    assert len(set((suite.folder / "seen").read_text().split())) == 8


def test_a_seeded_suite_stays_a_function_of_its_seed(suite):
    suite.write("conftest.py", "import random\nrandom.seed(42)\n")
    suite.write("test_r.py", "import random\ndef test_r(): open('seen', 'a').write('%.17f\\n' % random.random())\n")
    suite.run(slots=1)
    suite.run(slots=1)
    assert len(set((suite.folder / "seen").read_text().split())) == 1


def test_temporary_folders_and_logs(suite):
    suite.write("test_t.py", """
        import logging, pytest
        @pytest.mark.parametrize("x", range(4))
        def test_tmp(tmp_path, tmp_path_factory, worker, caplog, capfd, x):
            assert "popen-" + worker in str(tmp_path)
            logging.getLogger().warning("logged")
            assert "logged" in caplog.text
            print("captured")
            assert capfd.readouterr().out == "captured\\n"
        @pytest.fixture
        def worker(request): return request.config.workerinput["workerid"]
        def test_log():
            logging.getLogger().error("in the report")
            assert 0
    """)
    run = suite.run(ahead=1)
    assert sorted(run.outcomes.values()) == ["failed"] + ["passed"] * 4
    sections = dict(run.results["test_t.py::test_log"]["detail"]["sections"])
    assert "in the report" in sections["Captured log call"]


def test_a_basetemp_of_the_user(suite):
    suite.write("test_t.py", "def test_t(tmp_path): assert 'mine/popen-gw0' in str(tmp_path)\n")
    run = suite.run("--basetemp=mine", slots=1)
    assert run.outcomes == {"test_t.py::test_t": "passed"}


@pytest.mark.parametrize("capture", ["fd", "sys", "tee-sys", "no"])
def test_capture_methods(suite, capture):
    suite.write("test_c.py", """
        import sys
        def test_c():
            print('out')
            print('err', file=sys.stderr)
            assert 0
    """)
    result = suite.run("--capture=" + capture, slots=1).results["test_c.py::test_c"]
    sections = dict(result["detail"].get("sections", []))
    assert sections == ({} if capture == "no" else {"Captured stdout call": "out\n", "Captured stderr call": "err\n"})
