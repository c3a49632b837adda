"""Three real suites: remuda against the best of serial pytest and pytest-xdist."""

import peers
from measure import best, in_turn
from report import Report, Target

from .pytests import OURS, Runs, same_outcomes

ROUNDS = {"packaging": 3, "attrs": 5, "click": 5}
LIMITS = {"packaging": 0.5, "attrs": 0.75, "click": 0.65}


def run(bench):
    report = Report(
        "Real test suites",
        "Source distributions pinned by hash, each with an interpreter of its own; wall time of the whole command. "
        "The first run of remuda knows nothing, the second has the history of the first; both must meet the target.",
    )
    for name, limit in LIMITS.items():
        one(bench, report, name, limit)
    return report


def one(bench, report, name, limit):
    bench.say(f"  {name}")
    suite = peers.suite(name)
    arguments = [suite.small] if bench.quick else []
    runs = Runs(bench, suite.folder, suite.python, arguments, timeout=600)
    # this run also fills the caches of compiled modules, for everybody
    tests, differences = same_outcomes(runs, bench.scratch, bench.state("check", fresh=True))
    series = in_turn(bench, bench.rounds(ROUNDS[name]), runs.contenders("serial", "load", "worksteal"))
    report.add_series(series, OURS, title=f"**{name} {suite.version}**, {tests:,} tests")
    peer = best(series, [contender for contender in series if contender not in OURS])
    counted = ", ".join(f"{n:,} {word}" for word, n in runs.expected.items())
    report.notes.append(f"{name}: {counted}; the best peer was `{peer}`.")
    for ours in OURS:
        ratio = series[ours].median / series[peer].median
        text = f"{name}, {ours.split(', ')[1]}: wall against the best of pytest"
        report.targets.append(Target(text, ratio, limit))
    report.targets.append(
        Target(f"{name}: tests that differ from serial pytest in id or outcome", len(differences), 0, form="{:.0f}")
    )
    report.notes += [f"{name}: {difference}" for difference in differences[:5]]
