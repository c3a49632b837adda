"""Turns a fork of the loader into what the user's plugins know as an xdist worker.

Runs once, in the fork, before the first test; `leave` is its counterpart. Knows pytest's insides (the
capture manager, the reporters) so that no other file has to.
"""

import atexit
import logging
import os
import random
import re
import sys
import tempfile
import traceback

import pytest

from . import temporary

# In a worker of xdist these plugins do not exist or do nothing: reporting belongs to the loader.
CONTROLLER_ONLY = ("terminalreporter", "lfplugin", "nfplugin", "stepwiseplugin", "html", "json_report")
# They print what fixtures do, and ask at every one whether to.
SETUP_REPORTERS = ("setuponly", "setupplan")
# A fork has what these would have brought to and from a real worker.
NOT_DISTRIBUTED = ("_cov", "metadata")
AWARE_OF_WORKERS = re.compile(r"workerinput|workeroutput|slaveinput|is_xdist_|PYTEST_XDIST_WORKER")


class Gateway:
    """What plugins read of execnet's gateway."""

    class Spec:
        popen = True
        chdir = None
        python = sys.executable

    def __init__(self, name):
        self.id = name
        self.spec = Gateway.Spec()

    def _rinfo(self, update=False):
        return self

    platform = sys.platform
    version_info = tuple(sys.version_info)
    executable = sys.executable


class Node:
    """What `pytest_configure_node` and `pytest_testnodedown` of the user's plugins receive."""

    class Manager:
        roots = ()
        specs = ()

    def __init__(self, config, number, environment, count):
        self.config = config
        self.gateway = Gateway("gw%d" % number)
        self.nodemanager = Node.Manager()
        self.nodemanager.testrunuid = environment.get("PYTEST_XDIST_TESTRUNUID", "")
        self.slotid = number
        self.workeroutput = {}
        self.workerinput = {
            "workerid": self.gateway.id,
            "workercount": int(environment.get("PYTEST_XDIST_WORKER_COUNT") or count),
            "testrunuid": self.nodemanager.testrunuid,
            "mainargv": list(sys.argv),
        }


def call_node_hook(config, name, **arguments):
    """Call a hook of xdist in the loader, for all plugins that do not already share its memory."""
    if getattr(config.hook, name, None) is None:
        return
    left_out = [config.pluginmanager.get_plugin(known) for known in NOT_DISTRIBUTED]
    hook = config.pluginmanager.subset_hook_caller(name, [plugin for plugin in left_out if plugin])
    hook(**arguments)


def call_node_hook_safely(config, name, **arguments):
    try:
        call_node_hook(config, name, **arguments)
    except Exception:
        traceback.print_exc()


def tame_plugins():
    """Before pytest_configure: keep plugins from serving a kind of worker that will not exist."""
    reruns = sys.modules.get("pytest_rerunfailures")
    if reruns is not None:
        # With xdist it would start a server and a thread to count the crashes of workers.
        reruns.HAS_PYTEST_HANDLECRASHITEM = False


def redirect(stdout, stderr):
    """Descriptors 1 and 2 become those the daemon passed."""
    for given, target in ((stdout, 1), (stderr, 2)):
        os.dup2(given, target)
        os.close(given)


def restart_capture(config):
    """Give this process capture files of its own, on top of its own descriptors.

    The loader's are open file descriptions shared by all forks, and remember the loader's stdout. The objects stay: a suite
    may have taken `sys.stdout` when it was imported.
    """
    manager = config.pluginmanager.get_plugin("capturemanager")
    multi = getattr(manager, "_global_capturing", None)
    if multi is None:
        return
    manager.suspend_global_capture(in_=True)
    for capture in (multi.out, multi.err):
        if capture is not None and hasattr(capture, "targetfd_save"):
            with tempfile.TemporaryFile(buffering=0) as fresh:
                os.dup2(fresh.fileno(), capture.tmpfile.fileno(), inheritable=False)
            os.dup2(capture.targetfd, capture.targetfd_save, inheritable=False)
    manager.resume_global_capture()
    manager.suspend_global_capture()


def forget_unraisable(config):
    """After a fork, on the side of the parent: what failed unseen so far is told by the child, and only once."""
    for module, name in (("unraisableexception", "unraisable_exceptions"), ("threadexception", "thread_exceptions")):
        key = getattr(sys.modules.get("_pytest." + module), name, None)
        queue = config.stash.get(key, None) if key is not None else None
        if queue is not None:
            queue.clear()


def redirect_faulthandler(config):
    """A crash must print its traceback on this runner's stderr."""
    from _pytest import faulthandler

    # pytest 7.0 keeps a file under another name, later ones the descriptor.
    for name in ("fault_handler_stderr_fd_key", "fault_handler_stderr_key"):
        key = getattr(faulthandler, name, None)
        kept = config.stash.get(key, None) if key is not None else None
        if kept is not None:
            os.dup2(2, kept if isinstance(kept, int) else kept.fileno())


def reseed(config, number, seeded):
    """Forks must not draw the same numbers.

    Python reseeds `random` by itself after a fork. A state that the suite had seeded (`seeded`, as it was
    before the fork) makes the numbers a function of that seed and of the runner's number.
    """
    if config.pluginmanager.hasplugin("randomly"):
        return
    if seeded is not None:
        random.seed(repr((seeded, number)))
    numpy = sys.modules.get("numpy.random")
    if numpy is not None:
        numpy.seed([number, int(numpy.randint(1 << 31))] if seeded is not None else random.getrandbits(32))


def mute_controller_plugins(config):
    """Take the reporters out of the hooks, but let suites that ask for them by name find them."""
    from _pytest.junitxml import xml_key

    manager = config.pluginmanager
    telling = any(getattr(config.option, name, False) for name in ("setuponly", "setupshow", "setupplan"))
    for name in CONTROLLER_ONLY + (() if telling else SETUP_REPORTERS):
        plugin = manager.get_plugin(name)
        if plugin is not None:
            manager.unregister(plugin)
            if name == "terminalreporter":
                manager._name2plugin[name] = plugin
                plugin._tw._file = sys.stdout
    junit = config.stash.get(xml_key, None)
    if junit is not None and manager.is_registered(junit):
        manager.unregister(junit)


def become(config, node, environment, seeded, ends_session=False):
    """Everything above, for one runner; `ends_session`: no fork, this process goes on to end its session."""
    if not ends_session:
        # What was registered before the fork belongs to the loader and runs there.
        atexit._clear()
    os.environ.update(environment)
    name = node.gateway.id
    os.environ.setdefault("PYTEST_XDIST_WORKER", name)
    os.environ.setdefault("PYTEST_XDIST_WORKER_COUNT", str(node.workerinput["workercount"]))
    os.environ.setdefault("PYTEST_XDIST_TESTRUNUID", node.workerinput["testrunuid"])
    config.workerinput = node.workerinput
    if not hasattr(config, "workeroutput"):
        config.workeroutput = {}
    restart_capture(config)
    redirect_faulthandler(config)
    temporary.move(config, name)
    reseed(config, node.slotid, seeded)
    if not ends_session:
        mute_controller_plugins(config)


def leave(config, session):
    """The end of a runner: session hooks of plugins that know workers, coverage, exit handlers.

    A plugin that never heard of workers opened its session in the loader, and closes it there.
    """
    aware = _aware_plugins(config)
    others = [plugin for plugin in config.pluginmanager.get_plugins() if plugin not in aware]
    hook = config.pluginmanager.subset_hook_caller("pytest_sessionfinish", others)
    try:
        hook(session=session, exitstatus=pytest.ExitCode.TESTS_FAILED if session.testsfailed else pytest.ExitCode.OK)
    finally:
        save_coverage(config)
        atexit._run_exitfuncs()
        # It had been registered before the fork.
        logging.shutdown()


def _aware_plugins(config):
    found = []
    for implementation in config.hook.pytest_sessionfinish.get_hookimpls():
        module = sys.modules.get(implementation.function.__module__)
        name = getattr(module, "__name__", "_pytest")
        if name.partition(".")[0] in ("_pytest", "remuda_pytest", "xdist", "pytest_html"):
            continue
        try:
            with open(module.__file__, encoding="utf-8", errors="replace") as file:
                text = file.read()
        except (OSError, AttributeError, TypeError):
            continue
        if AWARE_OF_WORKERS.search(text):
            found.append(implementation.plugin)
    return found


def save_coverage(config):
    """coverage.py chooses a new data file after a fork; the loader combines them all."""
    if "coverage" not in sys.modules:
        return
    measuring = []
    plugin = config.pluginmanager.get_plugin("_cov")
    controller = getattr(plugin, "cov_controller", None)
    if controller is not None and controller.cov is not None:
        measuring.append(controller.cov)
    current = getattr(sys.modules["coverage"].Coverage, "current", lambda: None)()
    if current is not None and current not in measuring:
        measuring.append(current)
    for coverage in measuring:
        coverage.stop()
        coverage.save()
