"""No-op tasks through the protocol: two worker processes with an own handler, against BullMQ in the same run."""

import json
import select
import statistics
import subprocess
import time
import uuid

import peers
import resp
from measure import Wrong, execute, in_turn, start, stop
from report import Report, Target

ROUNDS = 3
MOST = 100  # tasks in one claim at most, as in remuda-worker
CONCURRENCY = 50
FARM = "remuda:{bench}:"


class Remuda:
    """`store/examples/noop_worker.rs`: results of one call are the arguments of the next."""

    def __init__(self, bench, most=MOST):
        self.program = bench.noop_worker
        self.most = most
        self.job = str(uuid.uuid4())

    def submit(self, server, tasks):
        return [self.program, "submit", server.url, self.job, tasks]

    def worker(self, server):
        return [self.program, "work", server.url, self.most]

    def done(self, server):
        return int(server.client("HGET", f"{FARM}group:{self.job}:0", "passed") or 0)

    def verify(self, server, tasks, tallies):
        state = server.client("HGET", f"{FARM}job:{self.job}", "state")
        accepted = sum(tally["accepted"] for tally in tallies)
        if state != b"passed" or accepted != tasks:
            raise Wrong(f"the job is {state}, {accepted} of {tasks} results were accepted")


class BullMQ:
    """Our two programs in bench/bullmq."""

    def __init__(self, _bench, concurrency=CONCURRENCY):
        self.folder = peers.bullmq()
        self.concurrency = concurrency

    def submit(self, server, tasks):
        return ["node", self.folder / "submit.mjs", server.port, tasks]

    def worker(self, server):
        return ["node", self.folder / "worker.mjs", server.port, self.concurrency]

    def done(self, server):
        return server.client("ZCARD", "bull:noop:completed")

    def verify(self, server, tasks, tallies):
        failed = server.client("ZCARD", "bull:noop:failed")
        handled = sum(tally["handled"] for tally in tallies)
        if failed or handled != tasks or self.done(server) != tasks:
            raise Wrong(f"{failed} failed, {handled} of {tasks} were handled")


def run(bench):
    tasks, bulls, few = (3000, 1000, 300) if bench.quick else (100_000, 30_000, 3000)
    report = Report(
        "No-op tasks through the protocol",
        f"A backlog of tasks with ids of 60 bytes ({tasks:,} for Remuda, {bulls:,} for BullMQ), drained by two worker "
        "processes over the loopback from a Redis that does not persist. The rate is the steady one, between 10 % and "
        "90 % of the backlog, so that neither side's start-up counts.",
    )
    bytes_a_task = {}

    def contender(name, make, count):
        def go(_):
            rate, size = drain(make(), count)
            bytes_a_task.setdefault(name, []).append(size)
            return rate

        return go

    ours, theirs = "remuda", f"BullMQ {peers.BULLMQ}, concurrency {CONCURRENCY}"
    one_by_one = "remuda, one task a call"
    contenders = {
        ours: contender(ours, lambda: Remuda(bench), tasks),
        theirs: contender(theirs, lambda: BullMQ(bench), bulls),
        one_by_one: contender(one_by_one, lambda: Remuda(bench, most=1), bulls),
    }
    series = in_turn(bench, bench.rounds(ROUNDS), contenders)
    report.add_series(series, [ours], unit="tasks/s")
    sent = {
        ours: listen(Remuda(bench), few),
        one_by_one: listen(Remuda(bench, most=1), few),
        theirs: listen(BullMQ(bench), few),
    }
    size = {name: statistics.mean(found) for name, found in bytes_a_task.items()}
    rows = [[name, f"{total:.3f}", words, f"{size[name]:.0f}"] for name, (total, words) in sent.items()]
    report.add_table("", ["", "commands sent a task", "which", "bytes a queued task"], rows)
    report.notes += [
        f"Commands sent: counted with MONITOR over {few:,} tasks, from the first connection of the submitter to the last "
        "worker's goodbye; what scripts call inside the server is not a command sent.",
        f"Bytes: growth of `used_memory` of an empty server by the backlog, events and job included, divided by {tasks:,} "
        f"({bulls:,}); BullMQ keeps a record for each job as it does by default, so does Remuda once a task is claimed.",
    ]
    report.targets += [
        Target(f"rate against {theirs}", series[ours].median / series[theirs].median, 3.0, at_least=True),
        Target("Redis commands sent a task", sent[ours][0], 1.1, form="{:.3f}"),
        Target("Redis commands sent a task, one task a call", sent[one_by_one][0], 1.1, form="{:.3f}"),
        Target("bytes of Redis a queued task", max(bytes_a_task[ours]), 250, form="{:.0f}"),
    ]
    return report


def drain(system, tasks):
    """Tasks per second in the steady part, and bytes of Redis for each queued task."""
    with resp.Server() as server:
        empty = server.used_memory()
        execute(system.submit(server, tasks), timeout=120)
        size = (server.used_memory() - empty) / tasks
        marks = work(system, server, tasks, timeout=120)
    return steady(marks, tasks), size


def work(system, server, tasks, timeout):
    """Two workers until everything is done. Returns how much was done when."""
    pipe = subprocess.PIPE
    workers = [start(system.worker(server), stdin=pipe, output=pipe) for _ in range(2)]
    marks, deadline = [], time.monotonic() + timeout
    try:
        for worker in workers:
            wait_until_ready(worker)
        for worker in workers:
            worker.stdin.write(b"go\n")
            worker.stdin.flush()
        while not marks or marks[-1][1] < tasks:
            if time.monotonic() > deadline or any(worker.poll() is not None for worker in workers):
                raise Wrong(f"{marks[-1][1] if marks else 0} of {tasks} were done after {timeout} s, or a worker ended early")
            marks.append((time.monotonic(), system.done(server)))
            time.sleep(0.01)
    finally:
        for worker in workers:
            stop(worker)
        said = [worker.communicate()[0].decode() for worker in workers]
    try:
        tallies = [json.loads(words) for words in said]
    except ValueError:
        raise Wrong("a worker said:\n" + "\n".join(said)) from None
    system.verify(server, tasks, tallies)
    return marks


def wait_until_ready(worker):
    """Both shall begin at the same moment, connected and listening to signals."""
    if not select.select([worker.stdout], [], [], 30)[0] or worker.stdout.readline() != b"ready\n":
        raise Wrong("a worker did not become ready")


def steady(marks, tasks):
    """The rate between a tenth and nine tenths of the tasks."""
    first = next(mark for mark in marks if mark[1] >= tasks * 0.1)
    last = next(mark for mark in marks if mark[1] >= tasks * 0.9)
    if last == first:  # too few to see anything: --quick
        first = marks[0]
    return (last[1] - first[1]) / (last[0] - first[0])


def listen(system, tasks):
    """Commands that clients sent for each task, and which."""
    with resp.Server() as server:
        ear = resp.Ear(server)
        execute(system.submit(server, tasks), timeout=120)
        work(system, server, tasks, timeout=120)
        sent = ear.close()
    words = ", ".join(f"{command} {count:,}" for command, count in sent.most_common(4))
    return sum(sent.values()) / tasks, words
