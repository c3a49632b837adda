"""Real suites: remuda against the best of serial pytest and pytest-xdist."""

import peers
from measure import best, in_turn
from report import Report, Target

from .pytests import OURS, Runs, same_outcomes

ROUNDS = {"packaging": 3, "attrs": 9, "click": 5}
LIMITS = {"packaging": 0.5, "attrs": 0.75, "click": 0.65}


def run(name, bench):
    suite = peers.suite(name)
    arguments = suite.arguments + ([suite.small] if bench.quick else [])
    runs = Runs(bench, suite.folder, suite.python, arguments, timeout=600)
    # these two runs also fill the caches of compiled modules, for everybody
    tests, differences = same_outcomes(runs, bench.scratch, bench.state("check", fresh=True))
    series = in_turn(bench, bench.rounds(ROUNDS[name]), runs.contenders("serial", "load", "worksteal"))
    counted = ", ".join(f"{n:,} {word}" for word, n in runs.expected.items())
    report = Report(
        f"The suite of {name} {suite.version}, {tests:,} tests",
        "Its source distribution, pinned by hash, with an interpreter of its own; wall time of the whole command. "
        "The first run of remuda knows nothing, the second has the history of the first; both must meet the target. "
        f"Every run counted {counted}.",
    )
    report.add_series(series, OURS)
    peer = best(series, [contender for contender in series if contender not in OURS])
    for ours in OURS:
        ratio = series[ours].median / series[peer].median
        text = f"{ours.split(', ')[1]}: wall against the best of pytest"
        report.targets.append(Target(text, ratio, LIMITS[name], more=f"best: {peer}"))
    text = "tests that differ from serial pytest in id or outcome"
    report.targets.append(Target(text, len(differences), 0, form="{:.0f}"))
    report.notes += [f"Left out everywhere: `{test}`; {suite.why}." for test in suite.left_out]
    report.notes += differences[:10]
    return report
