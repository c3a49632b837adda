"""Many short tests and a few long ones at the end: the order is everything."""

import json
import statistics

import peers
from measure import Wrong, in_turn
from report import Report, Target

from .pytests import OURS, Runs

ROUNDS = {"small": 5, "large": 5}
# short tests, their seconds, long tests, their seconds
SHAPES = {"small": (96, 0.02, 4, 1.5), "large": (400, 0.05, 4, 5.0)}
TINY = {"small": (12, 0.02, 2, 0.3)}
SHORT = """
import time

import pytest

@pytest.mark.parametrize("n", range({tests}))
def test_short(n):
    time.sleep({seconds})
"""
LONG = """

@pytest.mark.parametrize("n", range({tests}))
def test_long(n):
    time.sleep({seconds})
"""


def run(bench):
    report = Report(
        "A skewed suite: many short tests, a few long ones last",
        "Generated; tests sleep, so the least possible on two slots is max(longest, sum/2). Ratios are of the whole "
        "wall, start-up included; what start-up and end took is shown beside them.",
    )
    for name, shape in (TINY if bench.quick else SHAPES).items():
        one(bench, report, name, shape)
    return report


def one(bench, report, name, shape):
    shorts, short, longs, long = shape
    ideal = max(long, (shorts * short + longs * long) / 2)
    folder = bench.scratch / f"skew-{name}"
    write(folder, *shape)
    runs = Runs(bench, folder, peers.suite("click").python, timeout=120)
    runs.pytest("--collect-only")  # fills the caches of compiled modules
    runs.expected = None
    contenders = runs.contenders("load", "worksteal")
    spans = []

    def second(number):
        events = bench.scratch / "events.jsonl"
        seconds = runs.remuda(bench.state(f"round-{number}"), "--events", events)
        spans.append(span(events))
        return seconds

    contenders["remuda, second run"] = second
    series = in_turn(bench, bench.rounds(ROUNDS[name]), contenders)
    if runs.expected != {"passed": shorts + longs}:
        raise Wrong(f"counted {dict(runs.expected)}, expected {shorts + longs} passed")
    title = f"**{name}**: {shorts} × {short * 1000:.0f} ms, then {longs} × {long:.1f} s; least possible {ideal:.2f} s"
    report.add_series(series, OURS, title=title)
    wall, tests = series["remuda, second run"].median, statistics.median(spans)
    report.notes.append(
        f"{name}: of the second run's {wall:.2f} s the tests took {tests:.2f} s "
        f"({tests / ideal:.3f} × the least possible), start-up, collection and end {wall - tests:.2f} s."
    )
    if name == "small" and not bench.quick:
        # Python and pytest alone take longer to start than the 5 % of it that are allowed: it is shown, not judged.
        return
    more = f"tests alone {tests / ideal:.2f}"
    text = f"{name}, second run: wall against max(longest, sum/2)"
    report.targets.append(Target(text, wall / ideal, 1.05, form="{:.3f}", more=more))


def write(folder, shorts, short, longs, long):
    """Four files; the long tests are the last of the last."""
    folder.mkdir()
    (folder / "pytest.ini").write_text("[pytest]\n")
    for number in range(4):
        text = SHORT.format(tests=shorts // 4, seconds=short)
        if number == 3:
            text += LONG.format(tests=longs, seconds=long)
        (folder / f"test_{number}.py").write_text(text)


def span(events):
    """Seconds from the first start of a test to the last end, from the event log."""
    results = [json.loads(line) for line in events.read_text().splitlines()]
    results = [one for one in results if one["event"] == "result" and "::" in one["id"]]
    if not results:
        raise Wrong("the event log has no results")
    return max(one["at"] for one in results) - min(one["at"] - one["us"] / 1e6 for one in results)
