"""`kill -9` of one of two workers of a farm, in the middle of a run."""

import json
import signal
import tempfile
import time

import resp
from measure import Wrong, ended_within, environment, in_turn, start, stop, tail
from report import Report, Target

# lease in seconds: rounds
LEASES = {5: 3, 30: 1}
TASKS = 8
KILL_AFTER = 3.5  # seconds after the first task began
# A task of a second that holds a lock of its own (two attempts at once would fail) and says when it began and ended.
TASK = """
exec 9>"lock-$1"
flock -n 9 || { echo "overlap $1" >>log; exit 9; }
echo "began $1 $(date +%s.%N)" >>log
sleep 1
echo "ended $1 $(date +%s.%N)" >>log
"""


def run(bench):
    report = Report(
        "Recovery from `kill -9` of one of two workers",
        f"A farm with two `remuda-worker` of one slot each; {TASKS} tasks of 1 s; one worker is killed {KILL_AFTER} s after "
        "the first task began. Ideal: the other worker does at once all that is not done. Every task must end once, "
        "never two attempts of one at a time.",
    )
    for lease, rounds in ({3: 1} if bench.quick else LEASES).items():
        found = []
        contender = lambda _, lease=lease: once(bench, lease, found)
        series = in_turn(bench, bench.rounds(rounds), {f"lease {lease} s": contender})
        report.noise = max(report.noise, *(n for one in series.values() for n in one.noise))
        rows = [[f"{one[key]:.1f}" for key in ("ideal", "total", "lost")] for one in found]
        report.add_table(f"**lease {lease} s**", ["ideal s", "total s", "killed until its task began again, s"], rows)
        worst = max(found, key=lambda one: one["total"] - one["ideal"])
        text = f"total beyond ideal, lease {lease} s, worst of {len(found)}"
        report.targets.append(Target(text, worst["total"] - worst["ideal"], lease + 2, form="{:.1f} s"))
    return report


def once(bench, lease, found):
    """Seconds of the whole run, verified."""
    with tempfile.TemporaryDirectory(dir=bench.scratch) as folder, resp.Server() as server:
        folder = bench.path(folder)
        (folder / "task.sh").write_text(TASK)
        workers = [start_worker(bench, server, folder, lease, number) for number in range(2)]
        run = None
        try:
            wait_for_workers(server, 2)
            began, began_wall = time.monotonic(), time.time()
            run = start_run(bench, server, folder)
            wait_for(lambda: lines(folder, "began"), 20, "the first task")
            time.sleep(KILL_AFTER)
            killed = time.time()
            workers[0].send_signal(signal.SIGKILL)
            if not ended_within(run, KILL_AFTER + TASKS + 4 * lease + 60):
                raise Wrong("the run had not ended")
            total = time.monotonic() - began
            words = (folder / "output").read_text()
            if run.wait() != 0 or f"{TASKS} tasks: {TASKS} passed" not in words:
                raise Wrong(f"remuda ended with code {run.returncode}:\n{tail(words)}")
            found.append({"total": total, **judge(folder, began_wall, killed)})
            return total
        finally:
            for child in [*workers, *([run] if run else [])]:
                stop(child)


def start_worker(bench, server, folder, lease, number):
    argv = [bench.worker, "--redis", server.url, "--slots", "1", "--lease", lease, "--state", folder / f"state-{number}"]
    with open(folder / f"worker-{number}.log", "wb") as log:
        return start(argv, cwd=folder, output=log)


def start_run(bench, server, folder):
    items = [f"t{number}" for number in range(TASKS)]
    argv = [bench.remuda, "--redis", server.url, "each", "-n", "2", "--events", folder / "events", "sh task.sh {}", ":::", *items]
    with open(folder / "output", "wb") as output:
        return start(argv, cwd=folder, env=environment(XDG_STATE_HOME=folder / "state"), output=output)


def wait_for(condition, seconds, what):
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise Wrong(f"waited {seconds} s for {what}")
        time.sleep(0.01)


def wait_for_workers(server, count):
    wait_for(lambda: server.client("ZCARD", "remuda:{default}:workers") == count, 20, f"{count} workers to register")


def lines(folder, word):
    """(task, time) of the log's lines that begin with this word."""
    log = folder / "log"
    words = [line.split() for line in log.read_text().splitlines()] if log.exists() else []
    return [(line[1], float(line[2]) if len(line) > 2 else 0.0) for line in words if line[0] == word]


def judge(folder, began, killed):
    """The ideal, and how long the task of the killed worker waited; all verified from the tasks' own log."""
    results = [json.loads(line) for line in (folder / "events").read_text().splitlines()]
    results = [one["id"] for one in results if one["event"] == "result"]
    begun, ended = lines(folder, "began"), dict(lines(folder, "ended"))
    if lines(folder, "overlap") or len(results) != TASKS or len(set(results)) != TASKS or len(ended) != TASKS:
        raise Wrong(f"{len(results)} results, {len(ended)} tasks ended:\n{tail((folder / 'log').read_text(), 40)}")
    open_at_kill = [(task, at) for task, at in begun if at < killed < ended[task]]
    done = sum(at < killed for at in ended.values())
    again = [at for task, at in begun if at > killed and task in dict(open_at_kill)]
    if len(open_at_kill) != 2 or len(again) != 1:
        raise Wrong(f"{len(open_at_kill)} tasks ran when the worker was killed, {len(again)} began again")
    # what the other worker had done of its task by then; the larger of the two, so the ideal is not too kind
    progress = max(killed - at for _, at in open_at_kill)
    return {"ideal": killed - began + (TASKS - done) * 1.0 - progress, "lost": again[0] - killed}
