"""Fixtures: a throw-away RSpec suite, and the verdicts that rspec alone gives it.

The daemon is the one of the pytest runner's tests.
"""

import json
import os
import subprocess
import sys
import textwrap

import pytest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "..", "pytest", "tests"))

import fake_daemon  # noqa: E402

MAIN = os.path.join(os.path.dirname(HERE), "remuda_rspec_main.rb")
# What rspec's JSON calls an outcome.
STATUS = {"passed": "passed", "failed": "failed", "errored": "failed", "skipped": "pending", "xfailed": "pending"}


class Suite:
    def __init__(self, folder):
        self.folder = folder
        self.loaders = []
        self.script = "rspec"
        self.launcher = []

    def write(self, name, text):
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text), encoding="utf-8")
        return path

    def settings(self, settings):
        environment = {"HOME": str(self.folder), "RUBYOPT": "-W:no-deprecated", **settings.pop("environment", {})}
        return dict(settings, environment=environment, command=self.launcher + ["ruby", MAIN, self.script])

    def load(self, *args, **settings):
        loader = fake_daemon.Loader(self.folder, list(args), **self.settings(settings))
        self.loaders.append(loader)
        return loader

    def run(self, *args, **settings):
        run = fake_daemon.run_all(self.folder, list(args), **self.settings(settings))
        self.loaders.append(run.loader)
        return run

    def serial(self, *args):
        """Status by id, exit code and output of plain rspec."""
        report = self.folder / "serial.json"
        command = ["rspec", "--format", "progress", "--format", "json", "--out", str(report)] + list(args)
        env = dict(os.environ, HOME=str(self.folder))
        done = subprocess.run(
            command, cwd=str(self.folder), env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
        )
        found = json.loads(report.read_text(encoding="utf-8"))
        statuses = {example["id"]: example["status"] for example in found["examples"]}
        return statuses, done.returncode, done.stdout.decode("utf-8", "replace")

    def read(self, name):
        path = self.folder / name
        return path.read_text(encoding="utf-8") if path.exists() else ""

    def close(self):
        for loader in self.loaders:
            loader.control.close()
            try:
                loader.process.wait(fake_daemon.PATIENCE)
            finally:
                loader.process.kill()


def statuses(run):
    """The outcomes of a run in the words of rspec's JSON."""
    found = {name: STATUS[outcome] for name, outcome in run.outcomes.items()}
    found.update({name: "failed" for name in run.crashed})
    return found


@pytest.fixture
def suite(tmp_path):
    made = Suite(tmp_path)
    yield made
    made.close()
