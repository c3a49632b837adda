"""Crashes, left-overs, isolation, the end of the daemon, and suites that must not be forked."""

import os
import signal

import pytest

import fake_daemon


def alive(pid):
    try:
        with open("/proc/%d/stat" % pid) as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


CRASHES = """
    import os, signal, sys, pytest
    def test_before(): pass
    def test_exits(): os._exit(7)
    def test_exits_well(): os._exit(0)
    def test_killed(): os.kill(os.getpid(), signal.SIGKILL)
    def test_segfault():
        import ctypes
        ctypes.string_at(0)
    def test_after(): pass
"""


@pytest.mark.parametrize("isolation", ["slot", "test"])
def test_a_crash_is_blamed_on_its_test_alone(suite, isolation):
    suite.write("test_crash.py", CRASHES)
    run = suite.run(slots=2, isolation=isolation)
    assert run.outcomes == {"test_crash.py::test_before": "passed", "test_crash.py::test_after": "passed"}
    statuses = {name.partition("::")[2]: message["status"] for name, message in run.crashed.items()}
    assert os.WEXITSTATUS(statuses["test_exits"]) == 7
    assert statuses["test_exits_well"] == 0
    assert os.WTERMSIG(statuses["test_killed"]) == signal.SIGKILL
    assert os.WTERMSIG(statuses["test_segfault"]) == signal.SIGSEGV
    for name, message in run.crashed.items():
        assert run.loader.tests[message["test"]]["id"] == name


@pytest.mark.parametrize("isolation", ["slot", "test"])
def test_a_signal_to_ones_own_process_group_hits_no_neighbour(suite, isolation):
    suite.write("test_group.py", """
        import os, signal, subprocess, sys
        def test_neighbour():
            os.mkfifo("neighbour")
            assert open("neighbour").read() == "go on"
        def test_signals_its_group():
            child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1000)"])
            os.killpg(os.getpgid(child.pid), signal.SIGTERM)
            child.wait()
    """)
    loader = suite.load(isolation=isolation)
    loader.collect()
    neighbour, guilty = loader.fork(0), loader.fork(1)
    neighbour.run(0)
    neighbour.wait_for("started")
    guilty.run(1)
    exited = loader.wait_for("exited")
    assert (exited["slot"], exited["test"]) == (1, 1)
    assert os.WTERMSIG(exited["status"]) == signal.SIGTERM
    fake_daemon.until((suite.folder / "neighbour").exists)
    with open(str(suite.folder / "neighbour"), "w") as fifo:
        fifo.write("go on")
    assert neighbour.result(0)["outcome"] == "passed"
    neighbour.last()
    assert loader.finish()["exit"] == 1


def test_a_segfault_leaves_its_traceback_on_the_runners_stderr(suite):
    suite.write("test_crash.py", CRASHES)
    loader = suite.load()
    loader.collect()
    runner = loader.fork()
    runner.run(loader.number("test_segfault"))
    loader.wait_for("exited")
    assert "Segmentation fault" in runner.complained() and "test_segfault" in runner.complained()


def test_nothing_outlives_its_runner(suite):
    suite.write("test_left.py", """
        import os, subprocess, sys, time
        def test_leaves():
            read, write = os.pipe()
            if os.fork() == 0:
                os.setsid()
                if os.fork() == 0:
                    os.write(write, b"%d" % os.getpid())
                    while True: time.sleep(1000)
                os._exit(0)
            child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1000)"], start_new_session=True)
            with open("pids", "w") as file:
                file.write("%s %d" % (os.read(read, 20).decode(), child.pid))
    """)
    loader = suite.load()
    loader.collect()
    runner = loader.fork()
    runner.run(0)
    assert runner.result(0)["outcome"] == "passed"
    pids = [int(pid) for pid in (suite.folder / "pids").read_text().split()]
    assert all(alive(pid) for pid in pids)
    runner.last()
    loader.wait_for("exited")
    assert not any(alive(pid) for pid in pids)
    loader.finish()


def test_isolation_kills_what_each_test_left(suite):
    suite.write("test_left.py", """
        import os, time
        def test_leaves():
            if os.fork() == 0:
                with open("pid", "w") as file: file.write(str(os.getpid()))
                os.setsid()
                while True: time.sleep(1000)
            while not os.path.exists("pid"): pass
        def test_other():
            while not open("pid").read(): pass
            try:
                os.kill(int(open("pid").read()), 0)
            except ProcessLookupError:
                return
            assert False, "still there"
    """)
    run = suite.run(slots=1, isolation="test")
    assert set(run.outcomes.values()) == {"passed"}


def test_end_of_the_daemon_ends_everything(suite):
    suite.write("test_hang.py", """
        import time
        def test_hangs():
            while True: time.sleep(1000)
    """)
    loader = suite.load()
    loader.collect()
    runner = loader.fork()
    runner.run(0)
    runner.wait_for("started")
    forked = loader.wait_for("forked")
    loader.control.close()
    loader.process.wait(fake_daemon.PATIENCE)
    assert not alive(forked["pid"]) and not alive(forked["runner"])


def test_a_killed_monitor_is_noticed_and_replaced(suite):
    suite.write("test_hang.py", """
        import time
        def test_hangs():
            while True: time.sleep(1000)
        def test_fine(): pass
    """)
    loader = suite.load()
    loader.collect()
    runner = loader.fork()
    runner.run(0)
    runner.wait_for("started")
    forked = loader.wait_for("forked")
    os.kill(forked["pid"], signal.SIGKILL)
    exited = loader.wait_for("exited")
    assert exited["slot"] == 0 and os.WTERMSIG(exited["status"]) == signal.SIGKILL
    again = loader.fork()
    again.run(1)
    assert again.result(1)["outcome"] == "passed"
    while runner.pump():
        pass
    again.last()
    loader.finish()


def test_forking_while_another_runner_is_still_being_buried(suite):
    suite.write("test_x.py", "def test_x(): pass\ndef test_y(): pass\n")
    loader = suite.load()
    loader.collect()
    first = loader.fork(0)
    first.run(0)
    first.result(0)
    monitor = loader.wait_for("forked")["pid"]
    os.kill(monitor, signal.SIGSTOP)
    first.last()
    while first.pump():
        pass
    second = loader.fork(1)
    second.run(1)
    assert second.result(1)["outcome"] == "passed"
    os.kill(monitor, signal.SIGCONT)
    second.last()
    assert [loader.wait_for("exited")["status"] for _ in range(2)] == [0, 0]
    loader.finish()


def test_a_forked_child_that_returns_into_pytest_reports_nothing(suite):
    suite.write("test_child.py", """
        import os
        def test_forks():
            pid = os.fork()
            if pid: os.waitpid(pid, 0)
        def test_next(): pass
    """)
    run = suite.run(slots=1)
    assert run.outcomes == {"test_child.py::test_forks": "passed", "test_child.py::test_next": "passed"}


FORBIDDEN = {
    "variable": ("import os\nname = os.environ.get('PYTEST_XDIST_WORKER', 'main')\n", "PYTEST_XDIST_WORKER"),
    "getenv": ("import os\nname = os.getenv('TEST_ENV_NUMBER')\n", "TEST_ENV_NUMBER"),
    "in": ("import os\nhere = 'REMUDA_SLOT' in os.environ\n", "REMUDA_SLOT"),
    "role": ("def pytest_configure(config):\n    config.role = getattr(config, 'workerinput', None)\n", "workerinput"),
    "thread": ("import threading\nstop = threading.Event()\n"
               "threading.Thread(target=stop.wait, name='busy', daemon=True).start()\n", "busy"),
    "socket": ("import socket\nheld = socket.socket()\n", "socket"),
}


@pytest.mark.parametrize("reason", sorted(FORBIDDEN))
def test_what_forbids_forking_is_named(suite, reason):
    text, named = FORBIDDEN[reason]
    suite.write("conftest.py", text)
    suite.write("test_x.py", "def test_x(): pass\n")
    done = suite.load().collect()
    assert done["fork"] is False and named in done["why"]
    if reason in ("variable", "getenv", "in", "role"):
        assert "conftest.py:2" in done["why"]


def test_harmless_reads_do_not_forbid_forking(suite):
    suite.write("conftest.py", "import os\ncopy = dict(os.environ)\nhome = os.environ.get('HOME')\n")
    suite.write("test_x.py", "def test_x(): pass\n")
    done = suite.load().collect()
    assert done["fork"] is True and done["why"] is None


def test_a_loader_started_inside_another_runs_test_belongs_to_no_slot(suite):
    suite.write("conftest.py", "import os\ncopy = dict(os.environ)\n")
    suite.write("test_x.py", "import conftest\ndef test_x(): assert 'PYTEST_XDIST_WORKER' not in conftest.copy\n")
    run = suite.run(environment={"PYTEST_XDIST_WORKER": "gw9"})
    assert run.loader.done["fork"] is True and run.outcomes == {"test_x.py::test_x": "passed"}


def test_forking_can_be_forced(suite):
    suite.write("conftest.py", FORBIDDEN["role"][0])
    suite.write("test_x.py", "def test_x(): pass\n")
    assert suite.load(fork="always").collect()["fork"] is True


def test_installed_plugins_may_ask_for_their_role(suite):
    pytest.importorskip("pytest_html")
    suite.write("test_x.py", "def test_x(): pass\n")
    done = suite.load("--html=out.html").collect()
    assert done["fork"] is True, done["why"]


def test_a_suite_that_must_not_fork_runs_in_its_loader(suite):
    suite.write("conftest.py", "import os\nname = os.environ.get('PYTEST_XDIST_WORKER')\n")
    suite.write("test_x.py", """
        import os, conftest
        def test_name(request): assert request.config.workerinput["workerid"] == os.environ["PYTEST_XDIST_WORKER"]
        def test_tmp(tmp_path): assert "popen-gw0" in str(tmp_path)
        def test_bad(): assert 0
    """)
    run = suite.run("--junitxml=out.xml", slots=2)
    assert run.loader.done["fork"] is False
    assert sorted(run.outcomes.values()) == ["failed", "passed", "passed"]
    assert run.finished["exit"] == 1
    assert (suite.folder / "out.xml").read_text().count("<testcase") == 3


def test_loaders_of_slots_report_to_their_controller(suite):
    suite.write("conftest.py", """
        import os
        name = os.environ.get("PYTEST_XDIST_WORKER", "none")
        def pytest_configure(config):
            config.role = getattr(config, "workerinput", {}).get("workerid", "controller")
    """)
    suite.write("test_x.py", """
        import conftest, pytest
        @pytest.mark.parametrize("x", range(6))
        def test_name(request, x):
            assert request.config.role == conftest.name == request.config.workerinput["workerid"]
            assert x != 5
    """)
    controller = suite.load("--junitxml=out.xml")
    done = controller.collect()
    assert done["fork"] is False and done["controller"]
    outcomes = {}
    for slot in range(2):
        environment = {"PYTEST_XDIST_WORKER": "gw%d" % slot, "PYTEST_XDIST_WORKER_COUNT": "2"}
        loader = suite.load("--junitxml=out.xml", controller=done["controller"], fork="never", environment=environment)
        assert loader.collect()["fork"] is False
        runner = loader.fork(slot)
        mine = range(slot, 6, 2)
        runner.run(*mine)
        for test in mine:
            outcomes[test] = runner.result(test)["outcome"]
        runner.last()
        loader.wait_for("exited")
        assert loader.finish()["exit"] == 0
    assert [outcomes[test] for test in range(6)] == ["passed"] * 5 + ["failed"]
    finished = controller.finish()
    assert finished["exit"] == 1
    text = (suite.folder / "out.xml").read_text()
    assert text.count("<testcase") == 6 and 'failures="1"' in text


def test_processes_have_names(suite):
    suite.write("test_x.py", "def test_x():\n    assert open('/proc/self/comm').read().strip() == 'remuda-gw0'\n")
    assert suite.run(slots=1).outcomes == {"test_x.py::test_x": "passed"}
