"""Installs the peers into bench/.cache: GNU parallel, pytest with pytest-xdist and three real suites, BullMQ.

Everything is pinned; source distributions by hash. Installing again is cheap: a stamp says what is there.
"""

import dataclasses
import functools
import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
CACHE = HERE / ".cache"

PYTEST = ["pytest==9.2.0", "pytest-xdist==3.8.0", "pluggy==1.7.0", "iniconfig==2.3.1", "execnet==2.1.2", "pygments==2.21.0"]
HYPOTHESIS = ["hypothesis==6.170.15", "sortedcontainers==2.4.0"]
BULLMQ = "6.7.0"
IOREDIS = "5.11.1"  # what this BullMQ is tested with


class Missing(Exception):
    """A peer that cannot be installed here, and what to do."""


@dataclasses.dataclass(frozen=True)
class Suite:
    """A source distribution with its tests, and what these need."""

    name: str
    version: str
    sha256: str
    needs: tuple
    small: str  # one file of it, for --quick
    left_out: tuple = ()  # tests that no contender runs
    why: str = ""

    @property
    def folder(self):
        return CACHE / "suites" / f"{self.name}-{self.version}"

    @property
    def arguments(self):
        return [word for test in self.left_out for word in ("--deselect", test)]

    @property
    def python(self):
        return CACHE / "venvs" / self.name / "bin" / "python"


PACKAGING = Suite(
    "packaging",
    "26.3",
    "94edc256424af38762eb31306eed28beb9f0efc50a8837492c9d6fd6004aed79",
    (*HYPOTHESIS, "coverage==7.17.3", "pretend==1.0.9", "tomli_w==1.2.0", "pip"),
    "tests/test_utils.py",
)
ATTRS = Suite(
    "attrs",
    "26.1.0",
    "d03ceb89cb322a8fd706d4fb91940737b6642aa36998fe130a9bc96c985eff32",
    (*HYPOTHESIS, "packaging==26.3", "cloudpickle==3.1.2", "pympler==1.1", "psutil==7.2.2"),
    "tests/test_converters.py",
    ("tests/test_converters.py::TestPipe::test_wrapped_annotation",),
    "it fails under plain pytest too on CPython 3.11.2, 3.11.7 and 3.12.1, where `inspect.signature` does not see a "
    "`__call__` that is set on the instance",
)
CLICK = Suite(
    "click",
    "8.5.1",
    "9bbfada76703fd1d784b83eea012e3e8c6a001a876543ef104fa56aaaeb072b4",
    ("packaging==26.3",),
    "tests/test_formatting.py",
)
SUITES = {suite.name: suite for suite in (PACKAGING, ATTRS, CLICK)}


def do(*command, cwd=None):
    """Runs an installer; its words are shown only if it fails."""
    said = subprocess.run([str(word) for word in command], cwd=cwd, capture_output=True, text=True, timeout=900)
    if said.returncode != 0:
        words = (said.stdout + said.stderr).strip()[-2000:]
        raise Missing(f"`{os.path.basename(str(command[0]))} {command[1]}` failed ({said.returncode}):\n{words}")


@functools.cache
def system_package(program, package):
    """A program of the distribution, installed with apt-get where that is possible."""
    if shutil.which(program) is None:
        if shutil.which("apt-get") is None or os.geteuid() != 0:
            raise Missing(f"`{program}` is not installed and only root can do it: install the package `{package}`")
        print(f"bench: installing {package}", flush=True)
        do("apt-get", "update", "-qq")
        do("env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "install", "-y", "-qq", "--no-install-recommends", package)
    return shutil.which(program)


def parallel():
    return system_package("parallel", "parallel")


def suite(name):
    """A suite, ready to run: its folder and an interpreter of its own."""
    found = SUITES[name]
    wanted = repr((found.version, found.sha256, found.needs, PYTEST, sys.version))
    stamp = CACHE / "venvs" / found.name / ".ready"
    if not stamp.exists() or stamp.read_text() != wanted:
        print(f"bench: fetching {found.name} {found.version} and what its tests need", flush=True)
        prepare(found)
        stamp.write_text(wanted)
    return found


def prepare(wanted):
    venv = CACHE / "venvs" / wanted.name
    for old in (venv, wanted.folder):
        shutil.rmtree(old, ignore_errors=True)
    do(sys.executable, "-m", "venv", venv)
    pip = (wanted.python, "-m", "pip", "--quiet", "--disable-pip-version-check")
    archive = download(wanted, pip)
    wanted.folder.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(archive) as tar:
        safely = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
        tar.extractall(wanted.folder.parent, **safely)
    do(*pip, "install", *PYTEST, *wanted.needs)
    do(*pip, "install", "--no-deps", "--force-reinstall", archive)


def download(wanted, pip):
    """The source distribution, whose hash is checked before any code of it runs, and once more by ourselves."""
    folder = CACHE / "sdists"
    folder.mkdir(parents=True, exist_ok=True)
    archive = folder / f"{wanted.name}-{wanted.version}.tar.gz"
    if not archive.exists():
        pinned = folder / f"{wanted.name}.txt"
        pinned.write_text(f"{wanted.name}=={wanted.version} --hash=sha256:{wanted.sha256}\n")
        # only this package from source: what builds it may come as a wheel
        do(*pip, "download", "--no-deps", "--require-hashes", "--no-binary", wanted.name, "--dest", folder, "-r", pinned)
    found = hashlib.sha256(archive.read_bytes()).hexdigest()
    if found != wanted.sha256:
        archive.unlink()
        raise Missing(f"{archive.name} has the hash {found}, expected {wanted.sha256}; it was removed")
    return archive


@functools.cache
def bullmq():
    """The folder with BullMQ and our programs that use it."""
    system_package("node", "nodejs")
    system_package("npm", "npm")
    folder = CACHE / "bullmq"
    folder.mkdir(parents=True, exist_ok=True)
    stamp = folder / ".ready"
    wanted = [f"bullmq@{BULLMQ}", f"ioredis@{IOREDIS}"]
    if not stamp.exists() or stamp.read_text() != repr(wanted):
        print(f"bench: fetching BullMQ {BULLMQ}", flush=True)
        (folder / "package.json").write_text('{"name": "bench", "private": true}\n')
        do("npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", "--save-exact", *wanted, cwd=folder)
        stamp.write_text(repr(wanted))
    for program in (HERE / "bullmq").glob("*.mjs"):
        shutil.copy(program, folder)
    return folder
