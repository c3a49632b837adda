"""Verbs on a farm: `attach` to a job with many results, `cancel` of many running tasks on many workers."""

import contextlib
import json
import tempfile
import time

import resp
from measure import Wrong, environment, execute, in_turn, start, stop
from report import Report, Target

from .recovery import wait_for, wait_for_workers

ATTACH_ROUNDS, CANCEL_ROUNDS = 5, 3
RESULTS = 100_000
WORKERS, TASKS = 10, 1_000


def attach(bench):
    results = 2_000 if bench.quick else RESULTS
    with farm(bench, 1, 2) as (server, folder):
        items = folder / "items"
        items.write_text("".join(f"{n}\n" for n in range(results)))
        env = environment(XDG_STATE_HOME=folder / "state")
        remuda = [bench.remuda, "--redis", server.url]
        # the last one waits for a file, so that the job is still there to attach to
        command = f"test {{}} != {results - 1} || while [ ! -e go ]; do sleep 0.1; done"
        with open(items, "rb") as stdin:
            run = start([*remuda, "each", "--owner-grace", "1h", command], cwd=folder, env=env, stdin=stdin)
        try:
            status = lambda: json.loads(execute([*remuda, "status", "--json"], timeout=30, cwd=folder, env=env).output or "[]")
            wait_for(lambda: status() and status()[0]["done"] == results - 1, 900, f"{results} results")

            def look(_):
                began = time.monotonic()
                with open(folder / "facts", "wb") as out:
                    child = start([*remuda, "attach", "--events", "-"], cwd=folder, env=env, output=out)
                try:
                    counted = lambda: (folder / "facts").read_bytes().count(b'"event":"result"')
                    wait_for(lambda: counted() >= results - 1, 60, "the state of all tasks")
                    return time.monotonic() - began
                finally:
                    stop(child)

            seen = lambda _: execute([*remuda, "status", "latest"], timeout=30, cwd=folder, env=env).seconds
            series = in_turn(bench, bench.rounds(ATTACH_ROUNDS), {"attach --events -": look, "status latest": seen})
            (folder / "go").touch()
            if run.wait(timeout=60) != 0:
                raise Wrong(f"the run ended with code {run.returncode}")
        finally:
            stop(run)
    report = Report(
        f"Attaching to a job with {results:,} results",
        "A job of that many commands on a farm, its last task still running. From start until every result has been told "
        "(`attach --events -`), and of `status latest` as a whole.",
    )
    report.add_series(series, list(series))
    report.targets.append(Target("seconds until `attach` shows its state", series["attach --events -"].median, 1.0, form="{:.2f} s"))
    return report


def cancel(bench):
    workers, tasks = (2, 20) if bench.quick else (WORKERS, TASKS)
    with farm(bench, workers, tasks // workers) as (server, folder):
        env = environment(XDG_STATE_HOME=folder / "state")
        remuda = [bench.remuda, "--redis", server.url]
        (folder / "remuda.toml").write_text(
            f'[groups.sleep]\nadapter = "command"\ncommand = "echo $$ >> pids; exec sleep 1000 # {{item}}"\n'
            f"items = {json.dumps([f't{n}' for n in range(tasks)])}\n"
        )

        def once(_):
            (folder / "pids").unlink(missing_ok=True)
            job = execute([*remuda, "submit"], timeout=60, cwd=folder, env=env).output.strip().splitlines()[0]
            pids = lambda: (folder / "pids").read_text().split() if (folder / "pids").exists() else []
            wait_for(lambda: len(pids()) == tasks, 180, f"{tasks} tasks to run")
            running = [int(pid) for pid in pids()]
            began = time.monotonic()
            execute([*remuda, "cancel", job], timeout=60, cwd=folder, env=env)
            wait_for(lambda: not any(alive(pid) for pid in running), 60, "all of them to be dead")
            return time.monotonic() - began

        series = in_turn(bench, bench.rounds(CANCEL_ROUNDS), {"remuda cancel": once})
    report = Report(
        f"Cancelling {tasks:,} running tasks on {workers} workers",
        "From the start of `remuda cancel` until it has ended and none of the tasks' processes lives.",
    )
    report.add_series(series, list(series))
    report.targets.append(Target("seconds until all are dead", series["remuda cancel"].median, 2.0, form="{:.2f} s"))
    return report


@contextlib.contextmanager
def farm(bench, workers, slots):
    """A Redis, workers and a folder for their jobs."""
    with tempfile.TemporaryDirectory(dir=bench.scratch) as folder, resp.Server() as server:
        argv = [bench.worker, "--redis", server.url, "--slots", slots, "--state"]
        children = [start([*argv, f"{folder}/state-{number}"], cwd=folder) for number in range(workers)]
        try:
            wait_for_workers(server, workers)
            yield server, bench.path(folder)
        finally:
            for child in children:
                stop(child)


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
