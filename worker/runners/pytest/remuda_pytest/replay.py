"""Reports on their way from the runners to the plugins of the loader's own pytest session.

Runners write pickled frames into a pipe (both ends are forks of one process); the loader replays them
through its hooks, so that pytest's own plugins write --junitxml, --html, the cache and the durations.
Only what somebody in the loader wants is sent: failures always, passes when a plugin looks at them.
"""

import io
import os
import pickle
import struct

LENGTH = struct.Struct("=I")
# Without -r, pytest's short summary would only repeat what the daemon tells.
DEFAULT_CHARACTERS = "fE"
# These hooks of pytest look only at failures (and, the cache, at what failed before).
CONTENT_WITH_FAILURES = ("_pytest.main", "_pytest.cacheprovider", "_pytest.terminal", "remuda_pytest", "xdist")
# A plugin with a summary of its own probably counts reports; these do not.
OWN_SUMMARY = ("_pytest", "remuda_pytest", "pytest_cov", "pytest_rerunfailures", "pytest_timeout", "xdist")


def wants_all(config):
    """Whether some plugin or option of the loader must see every report."""
    option = config.option
    if getattr(option, "durations", None) is not None or getattr(option, "stepwise", False):
        return True
    if set(getattr(option, "reportchars", "") or "") - set("fEN"):
        return True
    if config.pluginmanager.hasplugin("html") or config.pluginmanager.hasplugin("junitxml_plugin"):
        return True
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
                return True
    return False


class Sender:
    """The runner's end."""

    def __init__(self, config, descriptor, everything):
        self.config = config
        self.descriptor = descriptor
        self.everything = everything
        cache = config.pluginmanager.get_plugin("lfplugin")
        self.failed_before = set(getattr(cache, "lastfailed", None) or ())

    def test_finished(self, item, reports):
        if not self.everything and item.nodeid not in self.failed_before:
            if not any(report.outcome in ("failed", "rerun") for report in reports):
                return
        convert = self.config.hook.pytest_report_to_serializable
        data = [convert(config=self.config, report=report) for report in reports]
        self._send(("test", item.nodeid, item.location, data))

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
            body = pickle.dumps(content)
        except Exception:
            body = pickle.dumps(_plain(content))
        data = memoryview(LENGTH.pack(len(body)) + body)
        while data:
            try:
                data = data[os.write(self.descriptor, data) :]
            except BrokenPipeError:
                return


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
        os.set_blocking(descriptor, False)

    def receive(self):
        """Complete contents, and whether the pipe is still open."""
        try:
            data = os.read(self.descriptor, 1 << 18)
        except BlockingIOError:
            return [], True
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
        return found, bool(data)


class Replayer:
    """Feeds the loader's session; its terminal output is kept back until the summary."""

    def __init__(self, session):
        self.session = session
        self.config = session.config
        self.terminal = self.config.pluginmanager.get_plugin("terminalreporter")

    def replay(self, content, node):
        kind = content[0]
        if kind == "test":
            self._test(*content[1:])
        elif kind == "warning":
            self._warning(*content[1:])
        elif kind == "finished":
            node.workeroutput = content[1]

    def _test(self, nodeid, location, data):
        hook = self.config.hook
        hook.pytest_runtest_logstart(nodeid=nodeid, location=location)
        for one in data:
            report = hook.pytest_report_from_serializable(config=self.config, data=one)
            hook.pytest_runtest_logreport(report=report)
        hook.pytest_runtest_logfinish(nodeid=nodeid, location=location)

    def _warning(self, described, when, nodeid, location):
        import warnings

        message, category, filename, lineno = described
        recorded = warnings.WarningMessage(message, category, filename, lineno)
        self.config.hook.pytest_warning_recorded.call_historic(
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
        for name in ("summary_failures", "summary_errors", "summary_stats", "_report_keyboardinterrupt"):
            setattr(terminal, name, lambda *ignored: None)
        if getattr(self.config.option, "reportchars", DEFAULT_CHARACTERS) == DEFAULT_CHARACTERS:
            terminal.short_test_summary = lambda: None
        return summary


class Nowhere(io.TextIOBase):
    def write(self, text):
        return len(text)

    def isatty(self):
        return False
