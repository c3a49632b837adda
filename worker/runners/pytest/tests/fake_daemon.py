"""A small daemon for tests: drives one loader over a socketpair, hands out tests, keeps all messages.

Speaks docs/runner-protocol.md from the other side with the runner's own wire.py; plans nothing. The tests of other
runners use it too, with a `command` of their own.
"""

import array
import importlib.util
import json
import os
import select
import selectors
import socket
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
RUNNERS = os.path.dirname(HERE)
MAIN = os.path.join(RUNNERS, "remuda_pytest_main.py")
PATIENCE = 20.0

_spec = importlib.util.spec_from_file_location("wire", os.path.join(RUNNERS, "remuda_pytest", "wire.py"))
wire = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(wire)


def send_with_descriptors(connection, message, descriptors):
    """The descriptors belong to the first byte of the frame."""
    data = wire.frame(message)
    rights = array.array("i", descriptors).tobytes()
    sent = connection.sendmsg([data], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
    connection.sendall(data[sent:])


def receive(reader):
    """Wait for messages, but not for ever."""
    assert select.select([reader.connection], [], [], PATIENCE)[0], "nothing was said for a minute"
    return reader.receive(block=False)


def until(condition):
    """Wait for what only looking can tell, but not for ever."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.01)


class Loader:
    """The loader process and everything it has said."""

    def __init__(self, folder, args, python=sys.executable, environment=None, command=None, **load):
        ours, theirs = socket.socketpair()
        settings = {"args": list(args), "isolation": "slot", "slots": 2, "group_by": "test", "run": "job-1"}
        settings.update(load)
        env = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "COV_", "REMUDA"))}
        env.update(COLUMNS="120", PYTHONDONTWRITEBYTECODE="1", **(environment or {}))
        env.update(REMUDA_LOAD=json.dumps(settings), REMUDA_RUNNER_FD=str(theirs.fileno()))
        self.output = tempfile.TemporaryFile()
        self.process = subprocess.Popen(
            command or [python, MAIN], cwd=str(folder), env=env, pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL, stdout=self.output, stderr=self.output, start_new_session=True,
        )
        theirs.close()
        self.control = ours
        self.reader = wire.Reader(ours)
        self.messages = []
        self.tests = []
        self.done = None

    def collect(self):
        """Read up to manifest_done or manifest_failure, which is returned."""
        while True:
            message = self.wait_for("manifest_part", "manifest_done", "manifest_failure")
            if message["type"] == "manifest_part":
                self.tests.extend(message["tests"])
            else:
                self.done = message
                return message

    def ids(self):
        return [test["id"] for test in self.tests]

    def number(self, part):
        """The position of the one test whose id ends with `part`."""
        found = [number for number, name in enumerate(self.ids()) if name.endswith(part)]
        assert len(found) == 1, (part, self.ids())
        return found[0]

    def wait_for(self, *kinds):
        """The next message of one of these kinds; the others are kept in `messages`."""
        while True:
            for position, message in enumerate(self.messages):
                if message["type"] in kinds:
                    return self.messages.pop(position)
            if self.reader.closed:
                raise EOFError("the loader ended: " + self.printed())
            self.messages.extend(receive(self.reader))

    def fork(self, slot=0, number=None, environment=None):
        number = slot if number is None else number
        runner = Runner(slot, number)
        env = {
            "PYTEST_XDIST_WORKER": "gw%d" % number,
            "PYTEST_XDIST_WORKER_COUNT": "2",
            "PYTEST_XDIST_TESTRUNUID": "run-1",
            "TEST_ENV_NUMBER": str(number + 1),
        }
        env.update(environment or {})
        message = {"type": "fork", "slot": slot, "number": number, "env": env}
        send_with_descriptors(self.control, message, runner.descriptors)
        runner.handed_over()
        return runner

    def send(self, kind, **fields):
        wire.send(self.control, dict(fields, type=kind))

    def finish(self):
        self.send("finish")
        message = self.wait_for("finished")
        self.process.wait(PATIENCE)
        return message

    def printed(self):
        self.output.seek(0)
        return self.output.read().decode("utf-8", "replace")

    def close(self):
        self.control.close()
        self.process.wait(PATIENCE)


class Runner:
    """Our end of a runner socket."""

    def __init__(self, slot, number):
        self.slot, self.number = slot, number
        self.connection, self.theirs = socket.socketpair()
        self.stdout = tempfile.TemporaryFile()
        self.stderr = tempfile.TemporaryFile()
        self.descriptors = [self.theirs.fileno(), self.stdout.fileno(), self.stderr.fileno()]
        self.reader = wire.Reader(self.connection)
        self.messages = []
        self.results = {}
        self.late = []
        self.finished = False

    def handed_over(self):
        self.theirs.close()

    def send(self, kind, **fields):
        wire.send(self.connection, dict(fields, type=kind))

    def run(self, *tests):
        self.send("run", tests=list(tests))

    def pump(self, block=True):
        """Read what is there and sort it; False when the runner is gone."""
        for message in receive(self.reader) if block else self.reader.receive(block=False):
            self.messages.append(message)
            if message["type"] == "result":
                self.results.setdefault(message["test"], []).append(message)
            elif message["type"] == "late":
                self.late.append(message)
            elif message["type"] == "done":
                self.finished = True
        return not self.reader.closed

    def wait_for(self, kind, **fields):
        while True:
            for message in self.messages:
                if message["type"] == kind and all(message.get(k) == v for k, v in fields.items()):
                    return message
            if not self.pump():
                raise EOFError("the runner ended without %s %r" % (kind, fields))

    def result(self, test):
        while test not in self.results:
            if not self.pump():
                raise EOFError("the runner ended without a result of %r" % test)
        return self.results[test][-1]

    def last(self):
        self.send("last")
        while not self.finished and self.pump():
            pass

    def printed(self):
        self.stdout.seek(0)
        return self.stdout.read().decode("utf-8", "replace")

    def complained(self):
        self.stderr.seek(0)
        return self.stderr.read().decode("utf-8", "replace")


class Run:
    """What a whole run told, for comparison with serial pytest."""

    def __init__(self):
        self.outcomes = {}
        self.results = {}
        self.late = []
        self.stops = []
        self.crashed = {}
        self.finished = None
        self.loader = None


def run_all(folder, args=(), slots=2, ahead=64, order=None, **settings):
    """Collect, fork `slots` runners, hand out runs of `ahead` tests, repeat after crashes, finish."""
    loader = Loader(folder, args, slots=slots, **settings)
    run = Run()
    run.loader = loader
    done = loader.collect()
    if done["type"] != "manifest_done":
        run.finished = done
        return run
    order = list(range(done["count"])) if order is None else order(loader)
    _Hand(loader, run, order, ahead, slots if done["fork"] else 1).work()
    run.finished = loader.finish()
    return run


class _Hand:
    """Hands out the tests of one run."""

    def __init__(self, loader, run, order, ahead, slots):
        self.loader, self.run, self.ahead = loader, run, ahead
        self.todo = list(order)
        self.given = {}
        self.runners = {}
        self.selector = selectors.DefaultSelector()
        self.selector.register(loader.control, selectors.EVENT_READ, None)
        for slot in range(slots):
            self.start(slot)

    def start(self, slot):
        runner = self.loader.fork(slot)
        self.runners[slot] = runner
        self.given[slot] = []
        self.selector.register(runner.connection, selectors.EVENT_READ, slot)
        self.refill(slot)

    def refill(self, slot):
        runner, given = self.runners[slot], self.given[slot]
        if len(given) <= self.ahead // 2 and self.todo:
            more, self.todo = self.todo[: self.ahead], self.todo[self.ahead :]
            given.extend(more)
            runner.run(*more)
        elif not given and not self.todo and not runner.finished:
            runner.send("last")

    def work(self):
        while self.runners:
            for key, _ in self.selector.select(PATIENCE):
                if key.data is None:
                    self.hear_loader()
                elif key.data in self.runners:
                    self.hear_runner(key.data)

    def hear_runner(self, slot):
        runner = self.runners[slot]
        before = len(runner.messages)
        if not runner.pump(block=False):
            if runner.connection in self.selector.get_map():
                self.selector.unregister(runner.connection)
        for message in runner.messages[before:]:
            self.hear(slot, message)

    def hear(self, slot, message):
        if message["type"] == "result":
            name = self.loader.tests[message["test"]]["id"]
            assert name not in self.run.outcomes, "two results of " + name
            self.run.outcomes[name] = message["outcome"]
            self.run.results[name] = message
            assert self.given[slot][0] == message["test"], "results out of order"
            del self.given[slot][0]
            self.refill(slot)
        elif message["type"] == "late":
            self.run.late.append(message)
        elif message["type"] == "stop":
            self.run.stops.append(message)

    def hear_loader(self):
        if self.loader.reader.closed:
            raise EOFError("the loader ended: " + self.loader.printed())
        self.loader.messages.extend(self.loader.reader.receive(block=False))
        for message in list(self.loader.messages):
            if message["type"] == "exited":
                self.loader.messages.remove(message)
                self.ended(message)

    def ended(self, message):
        slot = message["slot"]
        runner = self.runners[slot]
        while not runner.reader.closed and runner.pump():
            pass
        self.hear_runner_rest(slot)
        if runner.connection in self.selector.get_map():
            self.selector.unregister(runner.connection)
        del self.runners[slot]
        if runner.finished:
            return
        lost = self.given[slot]
        if lost:
            self.run.crashed[self.loader.tests[lost[0]]["id"]] = message
            self.todo = lost[1:] + self.todo
        self.start(slot)

    def hear_runner_rest(self, slot):
        runner = self.runners[slot]
        known = {id(result) for result in self.run.results.values()}
        for message in runner.messages:
            if message["type"] == "result" and id(message) not in known:
                self.hear(slot, message)
