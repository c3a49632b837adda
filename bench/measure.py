"""Running contenders: one at a time, in turn, each answer checked before its time counts."""

import dataclasses
import os
import select
import signal
import statistics
import subprocess
import tempfile
import time

import machine

# What a measured program may see of the caller's environment: nothing that changes what it does.
KEPT = ("PATH", "HOME", "TMPDIR", "USER", "LOGNAME")


class Wrong(Exception):
    """A contender did not do what it was asked to, so its time means nothing."""


def environment(**more):
    kept = {name: os.environ[name] for name in KEPT if name in os.environ}
    return {**kept, "LANG": "C.UTF-8", **{name: str(value) for name, value in more.items()}}


@dataclasses.dataclass
class Done:
    """A program that has ended."""

    code: int
    seconds: float
    output: str


def start(argv, *, cwd=None, env=None, stdin=None, output=subprocess.DEVNULL):
    """A program in a session of its own, so that it can be ended with all its groups' members."""
    return subprocess.Popen(
        [str(word) for word in argv],
        cwd=cwd,
        env=environment() if env is None else env,
        stdin=stdin or subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


def ended_within(child, seconds):
    """Whether a child ended in time. `Popen.wait` would look only every 50 ms."""
    descriptor = os.pidfd_open(child.pid)
    try:
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        return bool(poll.poll(max(0, seconds) * 1000))
    finally:
        os.close(descriptor)


def stop(child, grace=10):
    """Ends a child: TERM, then KILL to its whole group."""
    if child.poll() is None:
        child.send_signal(signal.SIGTERM)
        ended_within(child, grace)
    try:
        os.killpg(child.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    return child.wait()


def execute(argv, *, timeout, cwd=None, env=None, items=None, codes=(0,)):
    """Runs a program to its end; `items` is a file for its standard input."""
    with tempfile.TemporaryFile() as output, open(items or os.devnull, "rb") as stdin:
        began = time.monotonic()
        child = start(argv, cwd=cwd, env=env, stdin=stdin, output=output)
        try:
            in_time = ended_within(child, timeout)
            seconds = time.monotonic() - began
        finally:
            code = stop(child, 0 if child.poll() is not None else 10)
        output.seek(0)
        text = output.read().decode("utf-8", "replace")
    name = os.path.basename(str(argv[0]))
    if not in_time:
        raise Wrong(f"{name} had not ended after {timeout} s:\n{tail(text)}")
    if code not in codes:
        raise Wrong(f"{name} ended with code {code}:\n{tail(text)}")
    return Done(code, seconds, text)


def tail(text, lines=15):
    """The first and the last lines."""
    all_lines = text.strip().splitlines()
    shown = all_lines if len(all_lines) <= lines else [*all_lines[:3], "…", *all_lines[3 - lines :]]
    return "\n".join("    " + line for line in shown)


@dataclasses.dataclass
class Series:
    """What one contender took."""

    values: list = dataclasses.field(default_factory=list)
    noise: list = dataclasses.field(default_factory=list)

    @property
    def median(self):
        return statistics.median(self.values)

    def spread(self, form="{:.2f}"):
        return f"{form.format(min(self.values))}–{form.format(max(self.values))}"


def in_turn(bench, rounds, contenders):
    """Rounds of A B C A B C …, each on a quiet machine. A contender gets the number of the round and returns what it
    measured (seconds, mostly) once it has checked what it did."""
    series = {name: Series() for name in contenders}
    for number in range(rounds):
        for name, contender in contenders.items():
            before = bench.quiet.wait()
            foreign = machine.Foreign()
            value = contender(number)
            during = foreign.cores()
            series[name].values.append(value)
            series[name].noise.append(max(before, during))
            bench.say(f"  round {number + 1}/{rounds}  {name}: {value:,.2f}  (others: {before:.2f}, {during:.2f} cores)")
    return series


def best(series, names):
    """The name of the fastest of these."""
    return min(names, key=lambda name: series[name].median)
