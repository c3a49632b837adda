"""Spawning: `remuda each` against xargs and GNU parallel."""

import re

import peers
from measure import Wrong, environment, execute, in_turn
from report import Report, Target

ROUNDS = 5


def run(bench):
    tasks = 200 if bench.quick else 5000
    items = bench.scratch / "items"
    items.write_text("".join(f"{n}\n" for n in range(1, tasks + 1)))
    commands = {
        "remuda each -n 2": [bench.remuda, "each", "-n", "2"],
        "xargs -P2 -n1": ["xargs", "-P2", "-n1"],
        "parallel -j2": [peers.parallel(), "--will-cite", "-j2"],
    }
    check(bench, commands)

    def contender(name):
        def go(number):
            env = environment(XDG_STATE_HOME=bench.state("each", fresh=True))
            # the item becomes an argument of /bin/true, in all three
            done = execute([*commands[name], "/bin/true"], items=items, env=env, timeout=120, cwd=bench.scratch)
            if name.startswith("remuda") and not re.search(rf"{tasks} tasks: {tasks} passed", done.output):
                raise Wrong("remuda each did not report that all passed:\n" + done.output[-500:])
            return done.seconds

        return go

    series = in_turn(bench, bench.rounds(ROUNDS), {name: contender(name) for name in commands})
    ours, xargs, parallel = (series[name] for name in commands)
    report = Report(
        f"{tasks:,} × `/bin/true`",
        "Items on standard input, two at a time; wall time from start to end, the embedded Redis included.",
    )
    report.add_series(series, [next(iter(commands))])
    rates = ", ".join(f"{name} {tasks / one.median:,.0f}" for name, one in series.items())
    report.notes.append(f"Commands per second: {rates}.")
    report.notes.append("Checked beforehand with 100 items that each of the three runs its command once for every item.")
    report.targets += [
        Target("rate against `xargs -P2 -n1`", xargs.median / ours.median, 0.75, at_least=True),
        Target("rate against `parallel -j2`", parallel.median / ours.median, 3.0, at_least=True),
    ]
    return report


def check(bench, commands):
    """Each contender makes exactly one folder for each of 100 items; mkdir would fail on the second."""
    items = bench.scratch / "few"
    items.write_text("".join(f"item-{n}\n" for n in range(100)))
    for number, (name, command) in enumerate(commands.items()):
        folder = bench.scratch / f"check-{number}"
        folder.mkdir()
        env = environment(XDG_STATE_HOME=bench.state("each", fresh=True))
        execute([*command, "mkdir"], items=items, env=env, timeout=60, cwd=folder)
        if len(list(folder.iterdir())) != 100:
            raise Wrong(f"{name} made {len(list(folder.iterdir()))} folders of 100")
