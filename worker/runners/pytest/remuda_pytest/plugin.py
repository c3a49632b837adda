"""The hooks through which pytest calls us, in the loader and, after the fork, in a runner.

One plugin, registered before anything else, for both roles: old pluggy versions do not show plugins
that are registered late to every node. Only passes on; each hook is a few lines.
"""

import gc
import importlib.util
import inspect

import pluggy
import pytest

from . import options, unchanging, worker

# Collection makes objects in plenty and garbage rarely: fewer passes of the collector.
COLLECTING_THRESHOLD = 200_000
# Of the two kinds of wrapper the newer one costs half as much; what it returns the older one ignores.
_PARAMETERS = inspect.signature(pluggy.HookimplMarker.__call__).parameters
WRAPPER = pytest.hookimpl(tryfirst=True, **{"wrapper" if "wrapper" in _PARAMETERS else "hookwrapper": True})


class Plugin:
    def __init__(self, host):
        self.host = host
        self.asked = host.asked
        self.runner = None
        self.deselected = 0
        self.uncollected = []

    # Start of the session.

    def pytest_addoption(self, parser):
        # Messages about wrong usage name the program; the user typed neither of our files.
        parser.prog = "pytest"

    @pytest.hookimpl(hookwrapper=True, tryfirst=True)
    def pytest_load_initial_conftests(self, early_config, parser):
        options.neutralise(early_config.known_args_namespace, self.asked)
        if self.host.upstream is not None:
            self.host.upstream.prepare_early(early_config)
        yield
        options.add_missing(parser)

    @pytest.hookimpl(hookwrapper=True, tryfirst=True)
    def pytest_cmdline_main(self, config):
        options.neutralise(config.option, self.asked)
        worker.tame_plugins()
        if self.host.upstream is not None:
            self.host.upstream.prepare(config)
        yield

    @pytest.hookimpl(tryfirst=True)
    def pytest_configure(self, config):
        self.host.configured(config)
        if importlib.util.find_spec("xdist") is None:
            config.addinivalue_line("markers", "xdist_group(name): tests which must run on one runner.")

    # Collection.

    @pytest.hookimpl(hookwrapper=True, tryfirst=True)
    def pytest_collection(self):
        unchanging.hasten_collection()
        usual = gc.get_threshold()
        if gc.isenabled() and usual[0]:
            gc.set_threshold(max(usual[0], COLLECTING_THRESHOLD), *usual[1:])
        yield
        gc.set_threshold(*usual)

    def pytest_deselected(self, items):
        self.deselected += len(items)

    def pytest_collectreport(self, report):
        if not report.passed and report.nodeid:
            self.uncollected.append(report)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session):
        if session.testsfailed and not session.config.option.continue_on_collection_errors:
            number = session.testsfailed
            raise session.Interrupted("%d error%s during collection" % (number, "s" if number > 1 else ""))
        if _only_tells(session.config):
            # pytest's own loop: there is nothing to run.
            return None
        if session.items:
            self.host.serve(session, self)
        return True

    # In a runner.

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report):
        if self.runner is not None:
            self.runner.log_report(report)

    @WRAPPER
    def pytest_fixture_setup(self, fixturedef):
        if self.runner is None:
            return (yield)
        started = self.runner.fixture_started()
        try:
            return (yield)
        finally:
            self.runner.fixture_finished(fixturedef, started)

    def pytest_warning_recorded(self, warning_message, when, nodeid, location):
        if self.runner is not None and self.runner.relay is not None:
            self.runner.relay.warning(warning_message, when, nodeid, location)


def _only_tells(config):
    """Whether the user wants to see what would run, and nothing to run."""
    return config.option.collectonly or getattr(config.option, "setupplan", False)
