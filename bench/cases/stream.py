"""A long stream of no-op items through `remuda each`: does memory stay constant?"""

import re
import threading
import time

from measure import Wrong, ended_within, environment, start, stop, tail
from report import Report, Target

from .idle import tree

# (few, many) items: what many take more than few is what grows with the number
SIZES = (20_000, 100_000)
LOOK = 0.05


def run(bench):
    sizes = (500, 2_000) if bench.quick else SIZES
    bench.quiet.wait()
    found = {size: once(bench, size) for size in sizes}
    few, many = (found[size] for size in sizes)
    report = Report(
        f"{sizes[1]:,} no-op items through `remuda each`",
        f"`true` for each of {sizes[1]:,} and of {sizes[0]:,} lines of standard input, two slots, embedded Redis. Peak of the "
        "RSS of each program, looked at every 50 ms; the commands themselves are not counted.",
    )
    names = sorted(set(few["peaks"]) | set(many["peaks"]))
    rows = [[name, f"{few['peaks'].get(name, 0):.1f}", f"{many['peaks'].get(name, 0):.1f}"] for name in names]
    rows.append(["seconds", f"{few['seconds']:.1f}", f"{many['seconds']:.1f}"])
    report.add_table("", ["program", f"{sizes[0]:,} items, MB", f"{sizes[1]:,} items, MB"], rows)
    grown = many["peaks"]["remuda"] - few["peaks"]["remuda"]
    text = f"growth of `remuda` from {sizes[0]:,} to {sizes[1]:,} items"
    report.targets.append(Target(text, grown, 4, form="{:.1f} MB"))
    return report


def once(bench, size):
    """Peaks of memory by program, in MB, and seconds."""
    items, output = bench.scratch / f"items-{size}", bench.scratch / f"output-{size}"
    items.write_text("".join(f"{n}\n" for n in range(size)))
    peaks, over = {}, threading.Event()
    with open(items, "rb") as stdin, open(output, "wb") as out:
        began = time.monotonic()
        env = environment(XDG_STATE_HOME=bench.state(f"stream-{size}", fresh=True))
        child = start([bench.remuda, "each", "-n", "2", "true #"], cwd=bench.scratch, env=env, stdin=stdin, output=out)
        watch = threading.Thread(target=look, args=(child.pid, peaks, over))
        watch.start()
        try:
            in_time = ended_within(child, 600)
            seconds = time.monotonic() - began
        finally:
            over.set()
            watch.join()
            code = stop(child)
    words = output.read_text()
    if not in_time or code != 0 or not re.search(rf"{size} tasks: {size} passed", words):
        raise Wrong(f"remuda each ended with code {code}:\n{tail(words)}")
    return {"peaks": peaks, "seconds": seconds}


def look(pid, peaks, over):
    """The highest RSS of each program beneath `pid`, until it is over."""
    while not over.wait(LOOK):
        try:
            found = tree(pid)
        except OSError:
            continue
        for one in found:
            try:
                with open(f"/proc/{one}/status") as file:
                    fields = dict(line.split(":", 1) for line in file if ":" in line)
            except OSError:
                continue
            name = "remuda" if one == pid else fields["Name"].strip()
            if name in ("remuda", "redis-server", "valkey-server") and "VmRSS" in fields:
                name = "redis-server" if "server" in name else name if one == pid else "worker and its keepers, the largest"
                peaks[name] = max(peaks.get(name, 0), int(fields["VmRSS"].split()[0]) / 1024)
