"""Fixtures: a throw-away suite, and the outcomes that serial pytest gives it."""

import json
import os
import subprocess
import sys
import textwrap

import pytest

import fake_daemon

PLUGINS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "plugins")
# Other tests say what they need by -p; a plugin that shuffles would hide the order we check.
QUIET = ["-p", "no:randomly", "-W", "ignore::pytest.PytestDeprecationWarning"]


class Suite:
    def __init__(self, folder):
        self.folder = folder
        self.loaders = []
        self.quiet = list(QUIET)
        self.write("pytest.ini", "[pytest]\n")

    def write(self, name, text):
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text), encoding="utf-8")
        return path

    def load(self, *args, **settings):
        loader = fake_daemon.Loader(self.folder, self.quiet + list(args), **settings)
        self.loaders.append(loader)
        return loader

    def run(self, *args, **settings):
        run = fake_daemon.run_all(self.folder, self.quiet + list(args), **settings)
        self.loaders.append(run.loader)
        return run

    def serial(self, *args):
        """Outcomes by node id, exit code and output of plain pytest."""
        report = self.folder / "serial.json"
        env = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "COV_"))}
        env.update(PYTHONPATH=PLUGINS, SERIAL_REPORT=str(report), COLUMNS="120", PYTHONDONTWRITEBYTECODE="1")
        command = [sys.executable, "-m", "pytest", "-p", "tell_outcomes"] + self.quiet + list(args)
        done = subprocess.run(
            command, cwd=str(self.folder), env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
        )
        outcomes = json.loads(report.read_text(encoding="utf-8")) if report.exists() else {}
        return outcomes, done.returncode, done.stdout.decode("utf-8", "replace")

    def close(self):
        for loader in self.loaders:
            loader.control.close()
            try:
                loader.process.wait(fake_daemon.PATIENCE)
            finally:
                loader.process.kill()


@pytest.fixture
def suite(tmp_path):
    made = Suite(tmp_path)
    yield made
    made.close()
