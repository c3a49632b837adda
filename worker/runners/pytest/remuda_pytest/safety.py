"""Notices, up to the end of collection, what makes forking the loader wrong.

A suite must not be forked once somebody has read a variable that differs from slot to slot, has
started a thread, or has opened a socket: the forks would all share what was meant for one of them.
"""

import os
import sys
import threading

# Different in every slot.
SLOT_VARIABLES = frozenset(
    "PYTEST_XDIST_WORKER TEST_ENV_NUMBER REMUDA_SLOT REMUDA_DB_PREFIX REMUDA_TASK REMUDA_ATTEMPT"
    " REMUDA_OUTPUT REMUDA_ARTIFACTS NEXTEST_ATTEMPT NEXTEST_TEST_GLOBAL_SLOT NEXTEST_TEST_GROUP_SLOT".split()
)
SLOT_PREFIXES = ("REMUDA_POOL_",)
# The same in all slots of a job: a read matters only if the loader was started without them.
JOB_VARIABLES = frozenset(
    "PYTEST_XDIST_WORKER_COUNT PYTEST_XDIST_TESTRUNUID REMUDA_SLOT_COUNT NEXTEST_RUN_ID".split()
)
# What makes a session a worker of xdist, under its names old and new.
WORKER_ATTRIBUTES = ("workerinput", "slaveinput")
# These plugins ask early whether they run under xdist, and are right to believe that they do not.
TRUSTED_READERS = ("xdist", "_pytest", "pytest_cov", "pytest_sugar", "remuda_pytest")


class Watch:
    """Starts looking when made; `why_not_fork` gives the first reason or None."""

    def __init__(self):
        self.read = None
        self.asked = None
        self.config = None
        self.sockets = open_sockets()
        self.threads = set(threading.enumerate())
        self.plain_class = type(os.environ)
        watching = _watching_class(self.plain_class, self._note)
        os.environ.__class__ = watching
        os.environb.__class__ = watching

    def look_at(self, config):
        """A conftest that asks whether it runs in a worker may configure itself for that worker."""
        note = self._note_role

        class WatchedConfig(type(config)):
            def __getattr__(self, name):
                # Only called for what does not exist, as `workerinput` does not in a loader.
                if name in WORKER_ATTRIBUTES:
                    note(name)
                raise AttributeError("'Config' object has no attribute %r" % name)

        self.config, self.config_class = config, type(config)
        config.__class__ = WatchedConfig

    def stop(self):
        if self.config is not None:
            self.config.__class__ = self.config_class
        os.environ.__class__ = self.plain_class
        os.environb.__class__ = self.plain_class

    def why_not_fork(self):
        if self.read:
            return "%s read the slot variable %s while the suite was loaded" % self.read[::-1]
        if self.asked:
            return "%s asked for config.%s while the suite was loaded" % self.asked[::-1]
        for thread in threading.enumerate():
            if thread not in self.threads and thread.is_alive():
                return "the thread %r was started while the suite was loaded" % thread.name
        if open_sockets() - self.sockets:
            return "a socket was opened while the suite was loaded"
        return None

    def _note(self, key, environment):
        name = os.fsdecode(key) if isinstance(key, (str, bytes)) else ""
        if name in SLOT_VARIABLES or name.startswith(SLOT_PREFIXES):
            pass
        elif name not in JOB_VARIABLES or os.fsencode(name) in environment._data:
            return
        reader = _caller(2)
        if self.read is None and reader is not None and not _is_trusted(reader):
            self.read = (name, _place(reader))

    def _note_role(self, name):
        reader = _caller(2)
        # Installed plugins ask in order to leave reporting to the controller: that is what we want.
        if self.asked is None and reader is not None and not _is_installed(reader.f_code.co_filename):
            self.asked = (name, _place(reader))


def forget_slot():
    """A loader that will be forked belongs to no slot, even if it was started inside another run's test."""
    for name in list(os.environ):
        if name in SLOT_VARIABLES or name.startswith(SLOT_PREFIXES):
            del os.environ[name]


def _watching_class(plain, note):
    class WatchedEnvironment(plain):
        # `get`, `in`, `os.getenv` and `dict(os.environ)` all come through here.
        def __getitem__(self, key):
            note(key, self)
            return super().__getitem__(key)

    return WatchedEnvironment


def _caller(depth):
    """The frame outside the standard library's mapping code and ours."""
    frame = sys._getframe(depth)
    while frame is not None and _top_package(frame) in ("os", "_collections_abc", "collections", "remuda_pytest"):
        frame = frame.f_back
    return frame


def _top_package(frame):
    return frame.f_globals.get("__name__", "").partition(".")[0]


def _is_trusted(frame):
    return _top_package(frame) in TRUSTED_READERS


def _is_installed(path):
    return "site-packages" in path or "dist-packages" in path or path.startswith(os.path.dirname(os.__file__))


def _place(frame):
    return "%s:%d" % (frame.f_code.co_filename, frame.f_lineno)


def open_sockets():
    found = set()
    for name in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink("/proc/self/fd/" + name)
        except OSError:
            continue
        if target.startswith("socket:"):
            found.add(target)
    return found
