"""The queue of one slot: takes test numbers from the daemon, runs them, reports each at once.

A finished test is on the socket before the next one starts, so a crash can neither lose a result nor
be blamed on the wrong test. Reads no command line and decides no outcome (outcome.py does).
"""

import collections
import os
import random
import struct
import sys
import time
import traceback

import pytest
from _pytest.fixtures import FixtureDef

from . import monitor, outcome, unchanging, wire, worker

try:
    from _pytest.subtests import failed_subtests_key
except ImportError:
    # They came with pytest 9.
    failed_subtests_key = None

WIDE = ("class", "module", "package", "session")
# A test that is slower than this makes the next one worth announcing.
SLOW = 0.05
# Setting up a wide fixture in less time than this is no reason to keep tests together.
WORTH_PLANNING = 0.001
# Between short tests the socket is looked at only this often.
GLANCE = 0.001
CURRENT = struct.Struct("=q")


class Fork(Exception):
    """Raised in a forked child to unwind to the place that forked."""


class Runner:
    def __init__(self, session, connection, page, relay, load, seeded):
        self.session = session
        self.config = session.config
        self.items = session.items
        self.uncollected = ()
        self.connection = connection
        self.reader = wire.Reader(connection)
        self.page = page
        self.relay = relay
        self.seeded = seeded
        self.isolated = load.get("isolation") == "test"
        self.style = getattr(session.config.option, "tbstyle", "auto")
        # Held here because suites that freeze the time replace it in every module.
        self.clock = time.perf_counter
        self.process = os.getpid()
        self.queue = collections.deque()
        self.tasks = {}
        self.again = False
        self.reports = []
        self.wide = []
        self.nested = []
        self.last = False
        self.announce = True
        self.planned = None
        self.before = -1
        self.stopped = False
        self.glanced = 0.0
        self.locations = unchanging.Locations()

    # What the plugin hooks of the loader pass on.

    def log_report(self, report):
        self.reports.append(report)

    def fixture_started(self):
        self.nested.append(0.0)
        return self.clock()

    def fixture_finished(self, definition, started):
        spent = self.clock() - started
        own = spent - self.nested.pop()
        if self.nested:
            self.nested[-1] += spent
        if own >= WORTH_PLANNING and definition.scope in WIDE:
            self.wide.append([definition.scope, int(own * 1e6)])

    # The loop.

    def run(self):
        """Until the daemon says `last` (or goes away): run what is queued."""
        while True:
            now = self.clock()
            if not self.queue or now - self.glanced > GLANCE:
                self.glanced = now
                self._listen(block=not self.queue and not self.last)
            if self.queue:
                self._next()
            elif self.last:
                break
        self._late(None)

    def done(self):
        wire.send(self.connection, {"type": "done"})

    def _listen(self, block):
        for message in self.reader.receive(block):
            kind = message.get("type")
            if kind == "run":
                self.announce = self.announce or not self.queue
                self.queue.extend(message["tests"])
                self.tasks.update(zip(message["tests"], message.get("of", ())))
            elif kind == "drop":
                self._drop(set(message["tests"]))
            elif kind == "last":
                self.last = True
        if self.reader.closed:
            # The daemon is gone: nobody would hear the results.
            os._exit(1)

    def _drop(self, unwanted):
        dropped = [number for number in self.queue if number in unwanted]
        self.queue = collections.deque(number for number in self.queue if number not in unwanted)
        wire.send(self.connection, {"type": "dropped", "tests": dropped})

    def _next(self):
        number = self.queue.popleft()
        if number >= len(self.items):
            self._tell_uncollected(number)
        elif self.isolated:
            self._run_in_fork(number)
        else:
            self._run_here(number, self._following(number))

    def _tell_uncollected(self, number):
        """An entry of the manifest behind the items: what became of it was known when the loader collected."""
        self.tasks.pop(number, None)
        self.announce = self.announce or not self.queue
        report = self.uncollected[number - len(self.items)]
        wire.send(self.connection, outcome.of_collection(number, report, self.style))

    def _following(self, number):
        """The item whose fixtures must survive the teardown of this one."""
        for upcoming in self.queue:
            if upcoming < len(self.items):
                return self.items[upcoming]
        return None if self.last else self._stand_in(number)

    def _stand_in(self, number):
        """For an unknown next test: a node that shares every scope but the function's own.

        Hooks expect an item, so a neighbour of the same class or module is better than that node itself.
        """
        parent = self.items[number].parent
        for near in (number + 1, number - 1):
            if 0 <= near < len(self.items) and self.items[near].parent is parent:
                return self.items[near]
        return parent

    def _run_here(self, number, following):
        item = self.items[number]
        if self.planned is not item:
            self._late(item)
        CURRENT.pack_into(self.page, 0, number + 1)
        if self.announce:
            wire.send(self.connection, {"type": "started", "test": number})
        started = self.clock()
        self.reports = []
        self.wide = []
        self.nested = []
        self._name_task(number)
        stop = self._protocol(item, following)
        if os.getpid() != self.process:
            # A test forked and let its child return into pytest: that child has no say here.
            os._exit(1)
        self.announce = not self.queue or self.clock() - started > SLOW
        self._report(number)
        CURRENT.pack_into(self.page, 0, 0)
        self.planned = following if stop is None else None
        self.before = number
        if stop is not None:
            wire.send(self.connection, stop)
        self._pass_on_stop()

    def _pass_on_stop(self):
        """A test, a fixture or a hook has told the session to stop; once said, it cannot be taken back."""
        if self.stopped:
            return
        reason = getattr(self.session, "shouldfail", False) or getattr(self.session, "shouldstop", False)
        if reason:
            self.stopped = True
            wire.send(self.connection, {"type": "stop", "reason": str(reason), "ends": True})

    def _name_task(self, number):
        """The variables that every attempt has, before fixtures can look at them."""
        task, attempt = self.tasks.pop(number, ("", ""))
        self.again = str(attempt) not in ("", "1")
        for name, value in (("REMUDA_TASK", str(task)), ("REMUDA_ATTEMPT", str(attempt))):
            if os.environ.get(name) != value:
                os.environ[name] = value

    def _protocol(self, item, following):
        """Run one test; pytest.exit and KeyboardInterrupt become a `stop` message."""
        try:
            self.locations.tell(item)
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
        except (KeyboardInterrupt, pytest.exit.Exception) as error:
            return self._interrupted(item, error)
        except Exception:
            self.reports.append(_broken(item, traceback.format_exc()))
        return None

    def _interrupted(self, item, error):
        text = "%s: %s" % (type(error).__name__, error)
        self.reports.append(_broken(item, text))
        return {"type": "stop", "reason": text, "exit": getattr(error, "returncode", None)}

    def _report(self, number):
        reports, relay = self.reports, self.relay
        plain = outcome.simply_passed(reports)
        if plain and not self.wide:
            body = outcome.passed_body(number, reports)
            self.connection.sendall(wire.LENGTH.pack(len(body)) + body)
        else:
            self._judge_subtests(reports)
            wire.send(self.connection, outcome.result(number, reports, self.wide, self.style))
        if relay is None:
            return
        if plain:
            relay.test_passed(number, self.items[number], reports, self.again)
        else:
            relay.test_finished(number, self.items[number], reports, self.again)

    def _judge_subtests(self, reports):
        """pytest fails a test for its subtests when the terminal asks for its status: here is no terminal to ask."""
        if not any(outcome.is_subtest(report) for report in reports):
            return
        for report in reports:
            self.config.hook.pytest_report_teststatus(report=report, config=self.config)
        if failed_subtests_key in self.config.stash:
            # Another attempt of the test starts with none.
            self.config.stash[failed_subtests_key].clear()

    def _late(self, item):
        """Tear down what the test that follows (None: nothing) does not need."""
        state = self.session._setupstate
        if not state.stack:
            return
        manager = self.config.pluginmanager.get_plugin("capturemanager")
        if manager is not None:
            manager.resume_global_capture()
        error = None
        try:
            state.teardown_exact(item)
        except BaseException as caught:
            error = caught
        finally:
            captured = ("", "")
            if manager is not None:
                manager.suspend_global_capture(in_=False)
                captured = manager.read_global_capture()
        if error is not None:
            self._report_late(error, captured)

    def _report_late(self, error, captured):
        for one in _flattened(error):
            fixture, scope = _fixture_of(one)
            self.tell_late(one, fixture, scope, captured)

    def tell_late(self, error, fixture, scope, captured=("", "")):
        text = "".join(traceback.format_exception(type(error), error, error.__traceback__))
        titles = ("Captured stdout teardown", "Captured stderr teardown")
        detail = {
            "message": "%s: %s" % (type(error).__name__, error),
            "longrepr": outcome.shortened(text, outcome.LARGEST_TEXT),
            "when": "teardown",
            "sections": [[title, text] for title, text in zip(titles, captured) if text],
        }
        message = {"type": "late", "fixture": fixture, "scope": scope, "after": self.before, "detail": detail}
        wire.send(self.connection, message)
        if self.before >= 0:
            self._report_late_to_session(self.items[self.before], text)

    def _report_late_to_session(self, item, text):
        """Serial pytest blames the last test before a teardown: so do the reports of the loader's session."""
        report = _broken(item, text, "teardown")
        if self.relay is not None:
            self.relay.late(item, report)
        else:
            self.config.hook.pytest_runtest_logreport(report=report)

    # Isolation by a fork for each test.

    def _run_in_fork(self, number):
        """One process for one test with all its fixtures; a crash of it is a crash of this runner."""
        if self.before < 0:
            monitor.become_subreaper()
        flush()
        state = random.getstate()
        pid = monitor.fork()
        if pid == 0:
            monitor.leave_group()
            self.process = os.getpid()
            if self.seeded:
                random.setstate(state)
            self._run_here(number, None)
            raise Fork
        worker.forget_unraisable(self.config)
        _, status = os.waitpid(pid, 0)
        monitor.kill_left_overs()
        if CURRENT.unpack_from(self.page, 0)[0] != 0 or status != 0:
            end_as(status)
        self.announce = not self.queue
        self.before = number


def end_as(status):
    """End this process the way another one ended."""
    if os.WIFSIGNALED(status):
        import resource
        import signal

        # The child has dumped its core already.
        resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
        signal.signal(os.WTERMSIG(status), signal.SIG_DFL) if os.WTERMSIG(status) != signal.SIGKILL else None
        os.kill(os.getpid(), os.WTERMSIG(status))
    os._exit(os.WEXITSTATUS(status))


def flush():
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError, AttributeError):
            pass


def _broken(item, text, when="setup"):
    return pytest.TestReport(
        nodeid=item.nodeid,
        location=item.location,
        keywords={},
        outcome="failed",
        longrepr=text,
        when=when,
    )


def _flattened(error):
    inner = getattr(error, "exceptions", None)
    if inner is None:
        return [error]
    return [leaf for one in inner for leaf in _flattened(one)]


def _fixture_of(error):
    """The fixture whose teardown raised: it is `self` of FixtureDef.finish on the traceback."""
    step = error.__traceback__
    while step is not None:
        owner = step.tb_frame.f_locals.get("self")
        if isinstance(owner, FixtureDef) and step.tb_frame.f_code.co_name == "finish":
            return owner.argname, str(owner.scope)
        step = step.tb_next
    return "", ""
