"""A suite whose cost is its module fixtures: nobody may set them up more often than needed."""

import peers
from measure import Wrong, in_turn
from report import Report, Target

from .pytests import OURS, Runs

ROUNDS = 3
MODULES = 8
MODULE = """
import pathlib
import time

import pytest

@pytest.fixture(scope="module")
def slow():
    with open(pathlib.Path(__file__).with_name("set-ups"), "a") as log:
        log.write(__name__ + "\\n")
    time.sleep({seconds})
    return 1

@pytest.mark.parametrize("n", range(10))
def test_quick(slow, n):
    assert slow == 1
"""


def run(bench):
    seconds = 0.2 if bench.quick else 2
    folder = bench.scratch / "fixtures"
    folder.mkdir()
    (folder / "pytest.ini").write_text("[pytest]\n")
    for number in range(MODULES):
        (folder / f"test_module_{number}.py").write_text(MODULE.format(seconds=seconds))
    runs = Runs(bench, folder, peers.suite("click").python, timeout=120)
    log, set_ups = folder / "set-ups", {}
    contenders = {}
    for name, go in runs.contenders("loadscope", "load").items():
        contenders[name] = counted(go, log, set_ups.setdefault(name, []))
    runs.pytest("--collect-only")  # fills the caches of compiled modules
    runs.expected = None
    series = in_turn(bench, bench.rounds(ROUNDS), contenders)
    if sum(runs.expected.values()) != MODULES * 10 or runs.expected["passed"] != MODULES * 10:
        raise Wrong(f"counted {dict(runs.expected)}, expected {MODULES * 10} passed")
    report = Report(
        f"{MODULES} modules, each with a module fixture of {seconds} s and 10 quick tests",
        f"Generated. The least possible is {MODULES * seconds / 2:.1f} s on two slots.",
    )
    report.add_series(series, OURS)
    for name, found in set_ups.items():
        report.notes.append(f"Set-ups, {name}: {', '.join(map(str, found))} (least possible {MODULES}).")
    peer = "pytest -n 2 --dist loadscope"
    for ours in OURS:
        ratio = series[ours].median / series[peer].median
        report.targets.append(Target(f"{ours.split(', ')[1]}: wall against `--dist loadscope`", ratio, 1.0))
    return report


def counted(go, log, into):
    """The contender, with the number of its set-ups noted."""

    def wrapped(number):
        log.write_text("")
        seconds = go(number)
        into.append(len(log.read_text().splitlines()))
        return seconds

    return wrapped
