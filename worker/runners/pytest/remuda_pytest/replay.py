"""Reports on their way from the runners to the plugins of the loader's own pytest session.

Runners write pickled frames into a pipe (both ends are forks of one process); the loader replays them
through its hooks, so that pytest's own plugins write --junitxml, --html, the cache and the durations.
Only what somebody in the loader wants is sent: failures always, passes when a plugin looks at them.
"""

import io
import os
import pickle
import select
import struct
import traceback
import warnings

from _pytest.junitxml import xml_key
from pytest import TestReport

LENGTH = struct.Struct("=I")
_EXAMPLE = TestReport("x", ("x", 0, "x"), {}, "passed", None, "call")
# A report with more attributes than this carries something of a plugin's.
PLAIN_REPORT = len(_EXAMPLE.__dict__)
KNOWS_START = hasattr(_EXAMPLE, "start")
# Without -r, pytest's short summary would only repeat what the daemon tells.
DEFAULT_CHARACTERS = "fE"
# pytest's own hooks look only at failures, unless an option (below) says more.
CONTENT_WITH_FAILURES = ("_pytest", "remuda_pytest", "xdist", "pytest_sugar")
# A plugin with a summary of its own probably counts reports; these do not.
OWN_SUMMARY = CONTENT_WITH_FAILURES + (
    "pytest_cov",
    "pytest_rerunfailures",
    "pytest_timeout",
    "pytest_subtests",
    "_hypothesis_pytestplugin",
)
# Options with which some plugin shows something about every test.
TELLING_OPTIONS = ("xmlpath", "pastebin", "stepwise", "htmlpath", "hypothesis_show_statistics")


# How much of what happens the loader's plugins want to hear of.
FAILURES, UNUSUAL, EVERYTHING = range(3)


def wanted(config):
    """The least of the three that satisfies every plugin and option of the loader."""
    option = config.option
    characters = set(getattr(option, "reportchars", "") or "")
    if getattr(option, "durations", None) is not None or characters & set("pPA"):
        return EVERYTHING
    if any(getattr(option, name, None) for name in TELLING_OPTIONS):
        return EVERYTHING
    hook = config.hook
    for caller, content in (
        (hook.pytest_runtest_logreport, CONTENT_WITH_FAILURES),
        (hook.pytest_runtest_logstart, CONTENT_WITH_FAILURES),
        (hook.pytest_runtest_logfinish, CONTENT_WITH_FAILURES),
        (hook.pytest_terminal_summary, OWN_SUMMARY),
    ):
        for implementation in caller.get_hookimpls():
            name = getattr(implementation.function, "__module__", "") or ""
            if not any(name == known or name.startswith(known + ".") for known in content):
                return EVERYTHING
    return UNUSUAL if characters - set("fEN") else FAILURES


def failed_before(config):
    """Node ids in the cache of --lf, which must hear also when these pass."""
    cache = config.pluginmanager.get_plugin("lfplugin")
    return {str(name) for name in getattr(cache, "lastfailed", None) or ()}


class Sender:
    """The runner's end."""

    def __init__(self, config, descriptor, level):
        self.config = config
        self.descriptor = descriptor
        self.level = level
        self.failed_before = failed_before(config)
        self.junit = config.stash.get(xml_key, None)
        if self.junit is not None:
            # What the collection left open there is the loader's to write.
            self._forget_junit()

    def test_passed(self, number, item, reports, again):
        """A test that simply passed; what the loader knows of it already is not sent. `again`: it was tried before."""
        if self.level < EVERYTHING and not again and item.nodeid not in self.failed_before:
            return
        if self.junit is not None:
            self._send_junit(item)
        if any(type(report) is not TestReport or len(report.__dict__) > PLAIN_REPORT for report in reports):
            # A plugin has written something of its own on the report.
            self._send_reports(number, item, reports)
            return
        times = [(report.duration, getattr(report, "start", 0), getattr(report, "stop", 0)) for report in reports]
        self._send(("passed", number, times))

    def test_finished(self, number, item, reports, again):
        if self.junit is not None:
            self._send_junit(item)
        if self.level >= UNUSUAL or again or item.nodeid in self.failed_before:
            self._send_reports(number, item, reports)
        elif any(report.outcome in ("failed", "rerun") for report in reports):
            self._send_reports(number, item, reports)

    def late(self, item, report):
        """A teardown failed after its last test had been reported."""
        self._send_reports(None, item, [report])

    def _send_junit(self, item):
        """What record_testsuite_property and record_xml_attribute left in this process's copy."""
        junit = self.junit
        for reporter in junit.node_reporters.values():
            if reporter.attrs:
                self._send(("junit attributes", item.nodeid, {str(k): str(v) for k, v in reporter.attrs.items()}))
        if junit.global_properties:
            self._send(("junit properties", list(junit.global_properties)))
        self._forget_junit()

    def _forget_junit(self):
        self.junit.node_reporters.clear()
        del self.junit.node_reporters_ordered[:]
        del self.junit.global_properties[:]

    def _send_reports(self, number, item, reports):
        convert = self.config.hook.pytest_report_to_serializable
        data = [convert(config=self.config, report=report) for report in reports]
        self._send(("test", number, item.nodeid, item.location, data))

    def warning(self, message, when, nodeid, location):
        described = (message.message, message.category, message.filename, message.lineno)
        try:
            pickle.dumps(described)
        except Exception:
            described = (str(message.message), UserWarning, message.filename, message.lineno)
        self._send(("warning", described, when, nodeid, location))

    def finished(self, workeroutput):
        self._send(("finished", workeroutput))

    def _send(self, content):
        try:
            write_frame(self.descriptor, content)
        except BrokenPipeError:
            pass


def write_frame(descriptor, content):
    try:
        body = pickle.dumps(content)
    except Exception:
        body = pickle.dumps(_plain(content))
    data = memoryview(LENGTH.pack(len(body)) + body)
    while data:
        try:
            data = data[os.write(descriptor, data) :]
        except BlockingIOError:
            select.select([], [descriptor], [])


def read_frame(descriptor):
    """One whole frame, waiting for it."""
    (length,) = LENGTH.unpack(_read_exactly(descriptor, LENGTH.size))
    return pickle.loads(_read_exactly(descriptor, length))


def _read_exactly(descriptor, count):
    data = b""
    while len(data) < count:
        more = os.read(descriptor, count - len(data))
        if not more:
            raise EOFError("the controller of this suite is gone")
        data += more
    return data


def _plain(content):
    if isinstance(content, dict):
        return {str(name): _plain(value) for name, value in content.items()}
    if isinstance(content, (list, tuple)):
        return type(content)(_plain(value) for value in content)
    return content if isinstance(content, (str, int, float, bool, type(None))) else repr(content)


class Receiver:
    """The loader's end of one runner's pipe; a frame cut off by a crash is forgotten."""

    def __init__(self, descriptor):
        self.descriptor = descriptor
        self.buffer = bytearray()
        self.closed = False
        os.set_blocking(descriptor, False)

    def receive(self):
        """Complete contents; None when nothing is there for now. Sets `closed` at the end of file."""
        try:
            data = os.read(self.descriptor, 1 << 18)
        except BlockingIOError:
            return None
        except ConnectionError:
            data = b""
        if not data:
            self.closed = True
            return None
        self.buffer += data
        found, start = [], 0
        while len(self.buffer) - start >= LENGTH.size:
            (length,) = LENGTH.unpack_from(self.buffer, start)
            end = start + LENGTH.size + length
            if len(self.buffer) < end:
                break
            found.append(pickle.loads(bytes(self.buffer[start + LENGTH.size : end])))
            start = end
        del self.buffer[:start]
        return found


class Replayer:
    """Feeds the loader's session; its terminal output is kept back until the summary.

    The session hears of a test once. A failure may be tried again, and a crash may have been the daemon's doing: both
    are held back until the end, and forgotten if something better comes.
    """

    def __init__(self, session):
        self.session = session
        self.held = {}
        self.items = {}
        self.config = session.config
        self.terminal = self.config.pluginmanager.get_plugin("terminalreporter")

    def replay(self, content, node):
        kind = content[0]
        if kind == "passed":
            self._passed(*content[1:])
        elif kind == "test":
            self._test(*content[1:])
        elif kind == "junit attributes":
            self.config.stash[xml_key].node_reporter(content[1]).attrs.update(content[2])
        elif kind == "junit properties":
            self.config.stash[xml_key].global_properties.extend(content[1])
        elif kind == "warning":
            self._warning(*content[1:])
        elif kind == "finished":
            node.workeroutput = content[1]

    def _test(self, number, nodeid, location, data):
        """`number` is None for what comes after a test and is no attempt of it."""
        convert = self.config.hook.pytest_report_from_serializable
        reports = [convert(config=self.config, data=one) for one in data]
        if number is not None:
            self.held.pop(number, None)
            if any(report.failed for report in reports):
                self.held[number] = lambda: self._tell(nodeid, location, reports)
                return
        self._tell(nodeid, location, reports)

    def _hook(self, nodeid):
        """The hooks of the test's folder: those of conftest.py files elsewhere do not hear of it."""
        if not self.items:
            self.items = {item.nodeid: item for item in self.session.items}
        item = self.items.get(nodeid)
        return item.ihook if item is not None else self.config.hook

    def _tell(self, nodeid, location, reports):
        hook = self._hook(nodeid)
        hook.pytest_runtest_logstart(nodeid=nodeid, location=location)
        for report in reports:
            hook.pytest_runtest_logreport(report=report)
        hook.pytest_runtest_logfinish(nodeid=nodeid, location=location)

    def release(self):
        """The last attempts are known now."""
        held, self.held = self.held, {}
        for tell in held.values():
            try:
                tell()
            except Exception:
                traceback.print_exc()

    def _passed(self, number, times):
        self.held.pop(number, None)
        item = self.session.items[number]
        hook, nodeid, location = item.ihook, item.nodeid, item.location
        keywords = {name: 1 for name in item.keywords}
        hook.pytest_runtest_logstart(nodeid=nodeid, location=location)
        for when, (duration, start, stop) in zip(("setup", "call", "teardown"), times):
            report = TestReport(
                nodeid, location, keywords, "passed", None, when,
                duration=duration, **({"start": start, "stop": stop} if KNOWS_START else {})
            )
            hook.pytest_runtest_logreport(report=report)
        hook.pytest_runtest_logfinish(nodeid=nodeid, location=location)

    def crashed(self, number, slot):
        """The process of a slot ended in the midst of a test: its fault, unless the daemon will say that it was not."""
        earlier = self.held.pop(number, None)

        def tell():
            if not slot.stopped:
                self._tell_crash(number, slot.node, slot.status)
            elif earlier is not None:
                earlier()

        self.held[number] = tell

    def _tell_crash(self, number, node, status):
        """As xdist reports it: a failure of the test that was running."""
        item = self.session.items[number]
        if os.WIFSIGNALED(status):
            how = "was killed by signal %d" % os.WTERMSIG(status)
        else:
            how = "ended with status %d" % os.WEXITSTATUS(status)
        text = "the process of runner %r %s while running %r" % (node.gateway.id, how, item.nodeid)
        report = TestReport(item.nodeid, item.location, {name: 1 for name in item.keywords}, "failed", text, "call")
        self._tell(item.nodeid, item.location, [report])

    def _warning(self, described, when, nodeid, location):
        message, category, filename, lineno = described
        recorded = warnings.WarningMessage(message, category, filename, lineno)
        self._hook(nodeid).pytest_warning_recorded.call_historic(
            kwargs=dict(warning_message=recorded, when=when, nodeid=nodeid, location=location)
        )

    def mute(self):
        if self.terminal is not None:
            self.terminal._tw._file = Nowhere()

    def record_summary(self):
        """From here on the terminal reporter writes what `finished` will carry.

        Failures and the last line are left out: the daemon tells them for all hosts together.
        """
        summary = io.StringIO()
        terminal = self.terminal
        if terminal is None:
            return summary
        terminal._tw._file = summary
        terminal._show_progress_info = False
        for name in ("summary_failures", "summary_errors", "summary_stats", "_report_keyboardinterrupt"):
            setattr(terminal, name, lambda *ignored: None)
        if getattr(self.config.option, "reportchars", DEFAULT_CHARACTERS) == DEFAULT_CHARACTERS:
            terminal.short_test_summary = lambda: None
        return summary


def forget_stop(session):
    """Replayed failures may have told this session to stop (-x); the daemon has seen to that."""
    for name in ("shouldfail", "shouldstop"):
        setattr(session, "_" + name if hasattr(session, "_" + name) else name, False)


class Nowhere(io.TextIOBase):
    def write(self, text):
        return len(text)

    def isatty(self):
        return False
