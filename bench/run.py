"""Measures Remuda beside its peers and writes bench/RESULTS.md. See bench/README.md."""

import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cases
import machine
import measure
import peers
import report as reports
import resp

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent


class Bench:
    """What every case gets."""

    def __init__(self, options, binaries):
        self.quick = options.quick
        self.fixed_rounds = options.rounds or (1 if options.quick else None)
        self.remuda = binaries / "remuda"
        self.worker = binaries / "remuda-worker"
        self.noop_worker = binaries / "examples" / "noop_worker"
        self.quiet = machine.Quiet(0 if options.quick else options.patience, self.say)
        self.scratch = None

    def say(self, text):
        print(f"bench: {text}", flush=True)

    def rounds(self, usual):
        return self.fixed_rounds or usual

    def path(self, text):
        return Path(text)

    def state(self, name, fresh=False):
        """A folder in which remuda remembers; `fresh`: it knows nothing."""
        folder = self.scratch / "state" / name
        if fresh:
            shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def measure(self, name, case):
        """The report of a case; one that fails says why instead of figures."""
        self.say(name)
        with tempfile.TemporaryDirectory(prefix="remuda-bench-") as scratch:
            self.scratch = Path(scratch)
            # pytest looks through what earlier sessions left there, and a killed one leaves its folder for three days
            os.environ["TMPDIR"] = str(self.scratch / "tmp")
            os.mkdir(os.environ["TMPDIR"])
            try:
                report = case(self)
            except (measure.Wrong, peers.Missing, OSError, subprocess.SubprocessError) as error:
                self.say(f"  FAILED: {error}")
                report = reports.Report("It could not be measured", "", failed=without_paths(str(error)))
        report.when, report.commit = reports.now(), commit()
        return report


def without_paths(text):
    """No page that we write says where things are on this machine."""
    text = text.replace(str(ROOT), ".").replace(str(Path.home()), "~")
    return re.sub(re.escape(tempfile.gettempdir()) + r"/[^/\s\"']+", "TMP", text)


def commit():
    git = ["git", "-C", str(ROOT)]
    head = machine.version(*git, "rev-parse", "--short", "HEAD")
    changed = subprocess.run([*git, "status", "--porcelain", "-uno"], capture_output=True, text=True).stdout
    changed = [line for line in changed.splitlines() if "RESULTS.md" not in line]
    return head + (" with local changes" if changed else "")


def facts(bench):
    """The machine and the versions of all that took part, where they are installed."""
    venv = peers.CACHE / "venvs" / "click" / "bin" / "python"
    return {
        **machine.describe(),
        "remuda": machine.version(bench.remuda, "--version"),
        "Redis": " ".join(machine.version(resp.server_program(), "--version").split()[:3]),
        "Python": f"{machine.version(venv, '--version')}, {', '.join(peers.PYTEST[:2])}",
        "xargs": machine.version("xargs", "--version"),
        "GNU parallel": machine.version("parallel", "--version"),
        "BullMQ": f"{peers.BULLMQ} on node {machine.version('node', '--version')}",
        "rustc": machine.version("rustc", "--version"),
    }


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, epilog=f"cases: {' '.join(cases.ALL)}")
    parser.add_argument("--only", metavar="NAME", action="append", choices=cases.ALL, help="only this case (repeatable)")
    parser.add_argument("--rounds", metavar="N", type=int, help="rounds of every case instead of its own number")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, one round, no waiting: does everything work?")
    patience = "seconds to wait for a quiet machine, altogether (900)"
    parser.add_argument("--patience", metavar="S", type=float, default=900, help=patience)
    parser.add_argument("--binaries", metavar="DIR", type=Path, help="programs to measure, already built (default: build them)")
    return parser.parse_args()


def build():
    subprocess.run(["cargo", "build", "--release", "--workspace", "--bins", "--examples"], cwd=ROOT, check=True)
    return Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release"


def main():
    options = arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what runs is ended first, as with Ctrl-C
    os.chdir(ROOT)
    began = time.monotonic()
    bench = Bench(options, options.binaries.resolve() if options.binaries else build())
    kept = peers.CACHE / ("quick" if bench.quick else "results")
    for name in options.only or cases.ALL:
        report = bench.measure(name, cases.ALL[name])
        report.save(kept / f"{name}.json")
        for target in report.targets:
            bench.say("  " + "  ".join(target.row(not bench.quick)))
    found = {name: reports.Report.load(kept / f"{name}.json") for name in cases.ALL if (kept / f"{name}.json").exists()}
    page = HERE / "RESULTS.md"
    if bench.quick or len(found) < len(cases.ALL):  # the page that is kept has every case
        page = peers.CACHE / ("RESULTS.quick.md" if bench.quick else "RESULTS.partial.md")
    page.write_text(reports.page(found, facts(bench), bench.quick, machine.QUIET))
    bench.say(f"wrote {page.relative_to(ROOT)} after {(time.monotonic() - began) / 60:.0f} min")
    measured = [found[name] for name in options.only or cases.ALL]
    if any(report.failed for report in measured):
        return 2
    return 0 if bench.quick or all(target.passes for report in measured for target in report.targets) else 1


if __name__ == "__main__":
    sys.exit(main())
