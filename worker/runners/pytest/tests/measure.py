"""Times one suite on two slots against serial pytest and xdist: `measure.py FOLDER [ROUNDS] [ARGS…]`.

Run it by the Python of an environment in which the suite's needs and xdist are installed. The driver
reads each socket at most every two milliseconds, as the worker daemon does.
"""

import itertools
import os
import resource
import selectors
import statistics
import subprocess
import sys
import time

import fake_daemon

AHEAD = int(os.environ.get("AHEAD", "16"))
REST = 0.002


def drive(folder, args):
    """One run on two slots: how many tests have a result."""
    loader = fake_daemon.Loader(folder, args)
    done = loader.collect()
    assert done["type"] == "manifest_done" and done["fork"], done
    todo = iter(range(done["count"]))
    runners = [loader.fork(slot) for slot in range(2)]
    given = {}
    selector = selectors.DefaultSelector()
    for runner in runners:
        selector.register(runner.connection, selectors.EVENT_READ, runner)
        given[runner] = give(runner, todo)
    passed = 0
    while selector.get_map():
        for key, _ in selector.select():
            passed += hear(key.data, todo, given, selector)
        time.sleep(REST)
    for _ in runners:
        loader.wait_for("exited")
    loader.finish()
    return passed


def hear(runner, todo, given, selector):
    before = len(runner.results)
    if not runner.pump(block=False):
        selector.unregister(runner.connection)
        return 0
    fresh = len(runner.results) - before
    given[runner] -= fresh
    if given[runner] < AHEAD // 2:
        given[runner] += give(runner, todo)
    return fresh


def give(runner, todo):
    tests = list(itertools.islice(todo, AHEAD))
    if tests:
        runner.run(*tests)
    else:
        runner.send("last")
    return len(tests)


def timed(work):
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.perf_counter()
    work()
    wall = time.perf_counter() - started
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def pytest(folder, args):
    environment = dict(os.environ, PYTHONDONTWRITEBYTECODE="1")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"] + args
    subprocess.run(command, cwd=folder, env=environment, stdout=subprocess.DEVNULL, check=False)


def main(folder, rounds=3, *args):
    args = list(args)
    ways = {
        "serial": lambda: pytest(folder, args),
        "xdist": lambda: pytest(folder, args + ["-n", "2"]),
        "remuda": lambda: drive(folder, args + ["-p", "no:cacheprovider"]),
    }
    found = {name: [] for name in ways}
    for _ in range(int(rounds)):
        for name, work in ways.items():
            found[name].append(timed(work))
            print(name, "wall %.2f cpu %.2f" % found[name][-1], flush=True)
    wall = {name: statistics.median(one[0] for one in rows) for name, rows in found.items()}
    best = min(wall["serial"], wall["xdist"])
    print("remuda / best = %.3f, remuda / serial = %.3f" % (wall["remuda"] / best, wall["remuda"] / wall["serial"]))


if __name__ == "__main__":
    main(*sys.argv[1:])
