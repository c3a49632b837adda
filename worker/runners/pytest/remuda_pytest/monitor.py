"""The process between the loader and a runner: nothing that a test started outlives its runner.

The monitor is a child subreaper, so double-forked and `setsid` descendants come back to it. It tells
the loader the pid of its runner, then how that runner ended, after everything left over was killed.
When the loader goes away (end of file) it kills the whole tree. It must not run user code.
"""

import ctypes
import os
import select
import signal
import struct
import time
import warnings

PR_SET_PDEATHSIG = 1
PR_SET_NAME = 15
PR_SET_CHILD_SUBREAPER = 36
STATUS = struct.Struct("=qq")
# A process in an uninterruptible wait must not keep its slot for ever.
LONGEST_REAPING = 10.0

_libc = ctypes.CDLL(None, use_errno=True)


def set_process_name(name):
    _libc.prctl(PR_SET_NAME, ctypes.c_char_p(name.encode()[:15]), 0, 0, 0)


def become_subreaper():
    if _libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")


def die_with_parent():
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def leave_group():
    """A test that signals its own process group must reach neither its neighbours nor who guards it."""
    os.setpgid(0, 0)


def fork():
    """os.fork without Python's warning about threads: safety.py has looked for those."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return os.fork()


def descendants(root):
    """Pids of everything below `root`, from one walk over /proc."""
    children = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open("/proc/%s/stat" % name, "rb") as file:
                    # The command name may hold spaces and brackets: count from the last bracket.
                    fields = file.read().rpartition(b")")[2].split()
            except OSError:
                continue
            children.setdefault(int(fields[1]), []).append(int(name))
    found, todo = [], [root]
    while todo:
        below = children.get(todo.pop(), [])
        found.extend(below)
        todo.extend(below)
    return found


def kill_left_overs():
    """Kill and reap every descendant of this subreaper."""
    deadline = time.monotonic() + LONGEST_REAPING
    while time.monotonic() < deadline:
        try:
            if os.waitpid(-1, os.WNOHANG)[0]:
                continue
        except ChildProcessError:
            return
        for pid in descendants(os.getpid()):
            try:
                os.kill(pid, signal.SIGKILL)
            except OSError:
                pass
        time.sleep(0.001)


def watch(loader, runner):
    """Guard `runner` until it ends or the loader is gone; never returns."""
    wake_read, wake_write = os.pipe()
    os.set_blocking(wake_write, False)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGCHLD, lambda number, frame: None)
    signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
    loader.sendall(STATUS.pack(runner, 0))
    status = _reap_until(runner)
    while status is None:
        readable, _, _ = select.select([loader, wake_read], [], [])
        if loader in readable:
            kill_left_overs()
            os._exit(1)
        os.read(wake_read, 4096)
        status = _reap_until(runner)
    kill_left_overs()
    try:
        loader.sendall(STATUS.pack(runner, status))
    except OSError:
        pass
    os._exit(0)


def _reap_until(runner):
    """Reap what has ended; the wait status of `runner` once it is among them."""
    try:
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == runner:
                return status
            if pid == 0:
                return None
    except ChildProcessError:
        return None
