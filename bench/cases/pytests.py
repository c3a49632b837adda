"""What the cases with pytest suites share: running serial pytest, pytest-xdist and remuda, and reading their words."""

import collections
import re
import xml.etree.ElementTree as xml

from measure import Wrong, environment, execute, tail

# words of pytest and of remuda for the same thing
WORDS = {"xfailed": "skipped", "xpassed": "passed", "error": "errored", "errors": "errored", "timed out": "errored"}
COUNT = re.compile(r"(\d+) (passed|failed|errored|errors?|skipped|xfailed|xpassed|timed out|lost|not run|flaky)\b")


def counts(line):
    """Outcomes of a summary line; what stands in brackets is part of the number before them."""
    found = collections.Counter()
    for number, word in COUNT.findall(re.sub(r"\([^)]*\)", "", line)):
        found[WORDS.get(word, word)] += int(number)
    return +found


def summary(output, pattern):
    lines = [line for line in output.splitlines() if re.search(pattern, line)]
    if not lines:
        raise Wrong("no summary in the output:\n" + tail(output))
    return counts(lines[-1])


class Runs:
    """Runs of one suite: a folder, an interpreter with pytest, arguments."""

    def __init__(self, bench, folder, python, arguments=(), timeout=300):
        self.bench = bench
        self.folder = folder
        self.python = python
        self.arguments = list(arguments)
        self.timeout = timeout
        self.expected = None

    def check(self, found, who):
        """Every run must end with the same counts as the first."""
        self.expected = self.expected or found
        if found != self.expected:
            raise Wrong(f"{who} counted {dict(found)}, the first run {dict(self.expected)}")

    def pytest(self, *flags):
        """Seconds of pytest with these flags."""
        argv = [self.python, "-m", "pytest", "-q", *flags, *self.arguments]
        done = execute(argv, cwd=self.folder, env=environment(), timeout=self.timeout)
        self.check(summary(done.output, r" in \d[\d.]*s"), "pytest " + " ".join(flags))
        return done.seconds

    def xdist(self, mode):
        return self.pytest("-n", "2", "--dist", mode)

    def remuda(self, state, *flags):
        """Seconds of remuda; `state` is the folder in which it remembers."""
        argv = [self.bench.remuda, "run", "-n", "2", *flags, "--", self.python, "-m", "pytest", "-q", *self.arguments]
        env = environment(XDG_STATE_HOME=state)
        done = execute(argv, cwd=self.folder, env=env, timeout=self.timeout)
        self.check(summary(done.output, r"^\s*Summary \["), "remuda")
        return done.seconds

    def contenders(self, *modes):
        """Serial pytest, pytest-xdist in these modes, and remuda without and with the history of the first run."""
        found = {}
        if "serial" in modes:
            found["pytest, serial"] = lambda _: self.pytest()
        for mode in modes:
            if mode != "serial":
                found[f"pytest -n 2 --dist {mode}"] = lambda _, mode=mode: self.xdist(mode)
        found["remuda, first run"] = lambda number: self.remuda(self.bench.state(f"round-{number}", fresh=True))
        found["remuda, second run"] = lambda number: self.remuda(self.bench.state(f"round-{number}"))
        return found


OURS = ("remuda, first run", "remuda, second run")


def outcomes(junit):
    """How often each test ended how, of a JUnit file: a test is its class name and name."""
    found = collections.Counter()
    for case in xml.parse(junit).iter("testcase"):
        kinds = {child.tag for child in case} & {"failure", "error", "skipped"}
        word = next((kind for kind in ("error", "failure", "skipped") if kind in kinds), "passed")
        found[(case.get("classname"), plain(case.get("name")), word)] += 1
    return found


def plain(name):
    """A name without what XML cannot hold: pytest writes it as `#x1B`, remuda leaves it out."""
    return re.sub(r"#x[0-9A-F]{2,4}", "", name or "")


def same_outcomes(runs, scratch, state):
    """Whether remuda found the same tests with the same outcomes as serial pytest: how many, and the differences."""
    ours, theirs = scratch / "remuda.xml", scratch / "pytest.xml"
    runs.pytest(f"--junitxml={theirs}")
    runs.remuda(state, "--junit", ours)
    left, right = outcomes(theirs), outcomes(ours)
    differences = [f"only pytest: {key}" for key in left - right] + [f"only remuda: {key}" for key in right - left]
    return sum(left.values()), differences
