"""Two idle workers of a farm, with all their processes: memory, CPU, Redis commands."""

import re
import tempfile
import time
from pathlib import Path

import resp
from measure import Wrong, start, stop
from report import Report, Target

from .recovery import wait_for_workers

SETTLE = 10
WINDOW = 20


def run(bench):
    settle, window = (2, 3) if bench.quick else (SETTLE, WINDOW)
    with tempfile.TemporaryDirectory(dir=bench.scratch) as folder, resp.Server() as server:
        argv = [bench.worker, "--redis", server.url, "--slots", "2", "--state"]
        workers = [start([*argv, f"{folder}/state-{number}"], cwd=folder) for number in range(2)]
        try:
            wait_for_workers(server, 2)
            noise = bench.quiet.wait()
            time.sleep(settle)
            ear = resp.Ear(server)
            before, server_before = cpu(workers), server.client.info("cpu")
            began = time.monotonic()
            time.sleep(window)
            seconds = time.monotonic() - began
            after, server_after = cpu(workers), server.client.info("cpu")
            sent = dict(ear.sent)
            memory = [footprint(worker.pid) for worker in workers]
            ear.close()
            if any(worker.poll() is not None for worker in workers):
                raise Wrong("a worker ended")
        finally:
            for worker in workers:
                stop(worker)
    report = Report(
        "Two idle workers",
        f"Two `remuda-worker --slots 2` on one farm with nothing to do, looked at for {window} s after {settle} s; all "
        "processes beneath them counted.",
        noise=noise,
    )
    rows = [[n, one["processes"], f"{one['rss']:.1f}", f"{one['pss']:.1f}"] for n, one in enumerate(memory, 1)]
    report.add_table("", ["worker", "processes", "RSS MB", "PSS MB"], rows)
    percent = 100 * (after - before) / seconds / 2
    served = sum(float(server_after[key]) - float(server_before[key]) for key in ("used_cpu_user", "used_cpu_sys"))
    words = ", ".join(f"{command} {count}" for command, count in sorted(sent.items()))
    report.notes += [
        f"CPU of both workers together: {1000 * (after - before):.1f} ms in {seconds:.0f} s; the server's: {1000 * served:.0f} ms.",
        f"Commands sent in that time, both together: {words or 'none'}.",
        "MB are 2^20 bytes. RSS counts a page that several processes share in each of them, PSS shares it out.",
        "\"No measurable CPU\" is read as: less than 0.1 % of a core each.",
    ]
    rss, pss = (sum(one[key] for one in memory) for key in ("rss", "pss"))
    report.targets += [
        Target("RSS of both with their wardens", rss, 24, form="{:.1f} MB", more=f"PSS {pss:.1f} MB"),
        Target("CPU of each", percent, 0.1, form="{:.3f} %"),
        Target("Redis commands each sends a second", sum(sent.values()) / seconds / 2, 2, form="{:.2f}"),
    ]
    return report


def tree(pid):
    """A process and all beneath it."""
    found = [pid]
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            found += tree(int(child))
    return found


def footprint(pid):
    """Memory of a process and all beneath it, in MB (of 2^20 bytes)."""
    pids = tree(pid)
    sums = {"Rss": 0, "Pss": 0}
    for one in pids:
        for name, size in re.findall(r"^(Rss|Pss):\s+(\d+) kB", Path(f"/proc/{one}/smaps_rollup").read_text(), re.M):
            sums[name] += int(size) / 1024
    return {"processes": len(pids), "rss": sums["Rss"], "pss": sums["Pss"]}


def cpu(workers):
    """Seconds of CPU that all threads of the workers' processes have used, in the scheduler's nanoseconds."""
    total = 0
    for worker in workers:
        for pid in tree(worker.pid):
            for task in Path(f"/proc/{pid}/task").iterdir():
                total += int((task / "schedstat").read_text().split()[0])
    return total / 1e9
