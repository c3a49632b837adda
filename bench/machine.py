"""The machine: what it is, who else uses it, and waiting until nobody does."""

import os
import platform
import re
import resource
import subprocess
import time
from pathlib import Path

TICK = os.sysconf("SC_CLK_TCK")
QUIET = 0.1  # cores that others may use
WINDOW = 2.0  # seconds over which that is looked at


def busy():
    """Seconds of CPU that everybody has used since boot, time stolen by other guests included."""
    fields = [int(n) for n in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    user, nice, system, _idle, _iowait, irq, softirq, steal = fields
    return (user + nice + system + irq + softirq + steal) / TICK


def own():
    """Seconds of CPU that this program and its ended children have used."""
    both = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(used.ru_utime + used.ru_stime for used in both)


class Foreign:
    """Cores that others used since this was made. What still runs counts as others'."""

    def __init__(self):
        self.start = (time.monotonic(), busy(), own())

    def cores(self):
        then, was_busy, was_own = self.start
        others = (busy() - was_busy) - (own() - was_own)
        return max(0.0, others / (time.monotonic() - then))


class Quiet:
    """Waits until the machine is quiet, altogether no longer than `patience` seconds."""

    def __init__(self, patience, say):
        self.left = patience
        self.say = say

    def wait(self):
        """Cores that others used over the last window: at most QUIET, unless the patience is used up."""
        told = False
        while True:
            foreign = Foreign()
            time.sleep(WINDOW)
            cores = foreign.cores()
            if cores <= QUIET or self.left <= 0:
                return cores
            self.left -= WINDOW
            if not told:
                self.say(f"  others use {cores:.2f} cores: waiting, at most {self.left:.0f} s more in this run")
                told = True


def describe():
    """The machine in a few lines, without names and paths."""
    cpu = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.M)
    memory = re.search(r"^MemTotal:\s*(\d+)", Path("/proc/meminfo").read_text(), re.M)
    release = platform.freedesktop_os_release() if hasattr(platform, "freedesktop_os_release") else {}
    return {
        "CPU": f"{cpu[1].strip() if cpu else platform.machine()}, {len(os.sched_getaffinity(0))} cores",
        "memory": f"{int(memory[1]) / 2**20:.0f} GiB" if memory else "unknown",
        "system": f"{release.get('PRETTY_NAME', platform.system())}, kernel {platform.release()}",
    }


def version(*command):
    """The first line that a program says about its version."""
    try:
        said = subprocess.run(command, capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return "not found"
    lines = (said.stdout + said.stderr).strip().splitlines()
    return lines[0] if lines else "unknown"
