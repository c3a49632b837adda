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
# These plugins ask early whether they run under xdist, and are right to believe that they do not.
TRUSTED_READERS = ("xdist", "_pytest", "pytest_cov", "pytest_sugar", "remuda_pytest")


class Watch:
    """Starts looking when made; `why_not_fork` gives the first reason or None."""

    def __init__(self):
        self.read = None
        self.sockets = open_sockets()
        self.threads = set(threading.enumerate())
        self.plain_class = type(os.environ)
        watching = _watching_class(self.plain_class, self._note)
        os.environ.__class__ = watching
        os.environb.__class__ = watching

    def stop(self):
        os.environ.__class__ = self.plain_class
        os.environb.__class__ = self.plain_class

    def why_not_fork(self):
        if self.read:
            return "%s read the slot variable %s while the suite was loaded" % self.read[::-1]
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
        reader = _caller()
        if self.read is None and reader is not None:
            self.read = (name, reader)


def _watching_class(plain, note):
    class WatchedEnvironment(plain):
        # `get`, `in`, `os.getenv` and `dict(os.environ)` all come through here.
        def __getitem__(self, key):
            note(key, self)
            return super().__getitem__(key)

    return WatchedEnvironment


def _caller():
    """`file:line` of the code that read; None if a plugin that may do so did."""
    frame = sys._getframe(2)
    while frame is not None:
        module = frame.f_globals.get("__name__", "")
        if module.partition(".")[0] not in ("os", "_collections_abc", "collections", "remuda_pytest"):
            if module.partition(".")[0] in TRUSTED_READERS:
                return None
            return "%s:%d" % (frame.f_code.co_filename, frame.f_lineno)
        frame = frame.f_back
    return None


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
