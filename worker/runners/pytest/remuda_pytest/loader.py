"""Starts the pytest session of one host and tells the daemon how its collection or its end went.

The entry point after remuda_pytest_main.py. The session itself is driven by pytest; plugin.py is where
it calls us, host.py is where it waits for the daemon.
"""

import io
import json
import os
import platform
import random
import sys
import sysconfig
import traceback

from . import VERSION, monitor, stack, thaw, wire

OLDEST_PYTEST = (7, 0)
LARGEST_OUTPUT = 16 << 20
USAGE_ERROR = 4


def main(folder):
    load = json.loads(os.environ.pop("REMUDA_LOAD"))
    control = wire.connect_descriptor(os.environ.pop("REMUDA_RUNNER_FD"))
    untouched_random = random.getstate()
    monitor.set_process_name("remuda-loader")
    look_like_pytest(folder, load)
    thaw.prepare()
    try:
        import pytest

        version = pytest.__version__
    except ImportError:
        pytest, version = None, "none"
    wire.send(control, introduction(version))
    problem = unusable(version)
    if problem:
        wire.send(control, failure(problem, USAGE_ERROR, problem))
        return USAGE_ERROR
    # Only now: everything else imports pytest.
    from . import host, safety, upstream

    if load.get("fork") != "never":
        safety.forget_slot()
    thaw.freeze_pytest()
    this_host = host.Host(control, load, untouched_random)
    if load.get("controller"):
        this_host.upstream = upstream.Upstream(load)
    return run_session(pytest, this_host)


def look_like_pytest(folder, load):
    """sys.path and sys.argv as `pytest` (or, with "module", `python -m pytest`) has them."""
    if sys.path and os.path.abspath(sys.path[0] or ".") == folder:
        del sys.path[0]
    safe = getattr(sys.flags, "safe_path", False)
    script = os.path.join(sysconfig.get_path("scripts"), "pytest")
    if load.get("module"):
        if not safe:
            sys.path.insert(0, os.getcwd())
        import importlib.util

        found = importlib.util.find_spec("pytest")
        script = os.path.join(os.path.dirname(found.origin), "__main__.py") if found else script
    elif not safe:
        sys.path.insert(0, os.path.dirname(script))
    sys.argv = [script] + list(load.get("args", ()))


def introduction(version):
    return {
        "type": "abq_native_runner_spawned",
        "protocol_version": {"type": "abq_protocol_version", "major": 0, "minor": 2},
        "runner_specification": {
            "type": "abq_native_runner_specification",
            "name": "remuda-pytest",
            "version": VERSION,
            "test_framework": "pytest",
            "test_framework_version": version,
            "language": "python",
            "language_version": platform.python_version(),
            "host": platform.platform(),
        },
        "remuda": 1,
        "pid": os.getpid(),
    }


def unusable(version):
    if version == "none":
        return "%s has no pytest: install it there (pip install pytest)" % sys.executable
    if tuple(int(part) for part in version.split(".")[:2]) < OLDEST_PYTEST:
        return "pytest %s is too old: Remuda needs pytest 7.0 or newer" % version
    return None


def failure(message, code, output):
    return {"type": "manifest_failure", "error": {"message": message}, "exit": code, "output": output}


class Tee(io.TextIOWrapper):
    """A standard stream that also remembers the last of what was written, for the daemon."""

    def __init__(self, stream, memory):
        super().__init__(
            stream.buffer, encoding=stream.encoding, errors="backslashreplace", line_buffering=True, newline="\n"
        )
        # Closing the original would close the buffer they share.
        self.original = stream
        self.memory = memory
        self.mode = "w"

    def write(self, text):
        if self.memory is not None:
            self.memory.append(text)
        return super().write(text)


class Memory:
    def __init__(self):
        self.parts = []
        self.size = 0

    def append(self, text):
        self.parts.append(text)
        self.size += len(text)
        if self.size > 2 * LARGEST_OUTPUT:
            self.parts = [self.text()[-LARGEST_OUTPUT:]]
            self.size = LARGEST_OUTPUT

    def text(self):
        return "".join(self.parts)


def run_session(pytest, this_host):
    from . import options, plugin, unchanging

    unchanging.hasten_imports()
    memory = Memory()
    sys.stdout, sys.stderr = Tee(sys.stdout, memory), Tee(sys.stderr, memory)
    arguments = list(this_host.load.get("args", ()))
    if this_host.load.get("rootdir"):
        arguments.append("--rootdir=" + this_host.load["rootdir"])
    if _without_xdist():
        arguments = options.take_from_arguments(arguments, this_host.asked)
    trouble = None
    try:
        code = int(stack.with_room(pytest.main, arguments, plugins=[plugin.Plugin(this_host)]))
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 1
    except Exception:
        # Python itself would end the program so.
        code, trouble = 1, traceback.format_exc()
        traceback.print_exc()
    if this_host.served:
        this_host.tell_end(code, trouble)
    else:
        wire.send(this_host.control, failure(_headline(code, memory.text()), code, memory.text()))
        # Its end would otherwise reach the daemon while that is still busy with these words.
        this_host.reader.receive(block=True)
    return code


def _without_xdist():
    import importlib.util

    return importlib.util.find_spec("xdist") is None


def _headline(code, output):
    """One line for a collection that gave no manifest."""
    if code == 5:
        return "no tests collected"
    if code == 0:
        return "pytest answered by itself"
    lines = [line.strip() for line in output.splitlines()]
    for mark in (": error: ", "ERROR: ", "E   ", "ERROR "):
        for line in lines:
            if mark in line and not line.startswith("ERROR: usage"):
                return line.partition(mark)[2][:4096].strip()
    return "pytest ended with exit code %d instead of a list of tests" % code
