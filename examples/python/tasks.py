"""A worker of one slot: `TaskQueue.each_task` gives a farm's tasks to a function of yours, one at a time.

Leases are renewed by a thread with a connection of its own (docs/protocol.md §5). What must stop a task reaches the
function as an exception, by a signal, so the queue belongs to the main thread. Unlike `remuda-worker` it does not
survive being stopped itself, and what the function started is the function's to end.
"""

import json
import os
import re
import shlex
import signal
import socket
import sys
import threading
import time
import uuid

from farm import AWAY, Farm

PASSED, FAILED, ERRORED, TIMED_OUT, SKIPPED, CANCELLED, GIVEN_BACK = "PFETSCY"
GLANCE = 0.5  # seconds between two looks at the clock: it counts suspend, and a timer does not
KEPT = 64 * 1024


class Refused(Exception):
    """An expiry beyond its cap. Nothing has changed."""


class Stop(BaseException):
    """Ends the function; no `except Exception` keeps it."""


def now():
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Task:
    def __init__(self, queue, claim, spec):
        fence, self.job, group, _, self.place, first, _, _, _, attempts, ids = claim
        self.fence, self.group, self.number = int(fence), int(group), int(first)
        self.id, self.attempt = ids[0], int(attempts[0])
        self.spec, self.settings = spec, spec["groups"][self.group]
        self.began = now()
        timeout = self.settings["timeout_ms"]
        self.cap = self.began + timeout / 1000 if timeout else float("inf")
        self.until, self.stop, self.verdict, self.text, self.offset = self.cap, None, None, "", 0
        self.queue = queue

    def log(self, line):
        """Says something to whoever follows the job; the end of it goes with the result."""
        line = line + "\n"
        self.text = (self.text + line)[-KEPT:]
        try:
            self.offset = self.queue.farm.call("log", self.fence, self.number, self.offset, "o", line)[1]
        except AWAY:
            pass  # only for looking

    def expire_in(self, seconds):
        """A sign of life: this attempt expires so long from now unless it says so again. At most the task's timeout."""
        if now() + seconds > self.cap:
            raise Refused("an expiry in %s s is beyond the cap: the timeout leaves this attempt %.1f s"
                          % (seconds, self.cap - now()))
        self.until = now() + seconds
        self.queue.arm()

    def expire(self):
        """Gives this attempt up at once: somebody tries the task again. Refused when no retries are left."""
        record = self.queue.farm.redis.hget(
            self.queue.farm.key("rec", self.job, self.group, self.number // 100), self.number % 100)
        failed = int(record.split(" ")[2])
        if failed >= self.settings["retries"]:
            raise Refused("%s has used up its %d retries; finish it" % (self.id, self.settings["retries"]))
        raise Stop("gave itself up")

    def finish(self, outcome, message=""):
        """Says how it ended, whatever the function returns: the first word counts."""
        self.verdict = self.verdict or (outcome, message)

    @property
    def command(self):
        """The words of a command task, the item filled in."""
        template, item = self.settings["template"], self.id
        stem, dot, _ = item.rpartition(".")
        values = {"{}": item, "{item}": item, "{.}": stem if dot and stem and not stem.endswith("/") and
                  "/" not in item[len(stem):] else item, "{/}": item.rsplit("/", 1)[-1], "{#}": str(self.number + 1),
                  "{index}": str(self.number)}

        def fill(text, quote=lambda word: word):
            return re.sub(r"\{(item|index|[./#]|)\}", lambda found: quote(values[found.group()]), text)

        if "argv" in template:
            return [fill(word) for word in template["argv"]]
        return ["/bin/sh", "-c", fill(template["shell"], shlex.quote)]

    @property
    def environment(self):
        own = {"REMUDA_JOB": self.job, "REMUDA_TASK": str(self.number), "REMUDA_ATTEMPT": str(self.attempt),
               "REMUDA_WORKER": self.queue.id, "REMUDA_SLOT": str(self.place)}
        return {**os.environ, **self.spec["env"], **self.settings["env"], **own}


class TaskQueue:
    def __init__(self, url, farm="default", labels=(), lease=30.0):
        self.id, self.lease, self.margin = str(uuid.uuid4()), lease, lease / 6
        self.profile = ",".join(sorted(set(labels)))
        self.farm, self.pulse = Farm(url, farm), Farm(url, farm, patience=0.5)
        self.task, self.inside, self.lease_until, self.leaving = None, False, 0.0, False
        self.results, self.specs, self.left = [], {}, threading.Event()

    def each_task(self, function):
        """Until SIGTERM or SIGINT, which let what runs finish; a second one gives it back.

        A function that returns has passed its task, and one that raises has failed it, unless it said something else
        with `task.finish`.
        """
        signal.signal(signal.SIGALRM, self._alarm)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._leave)
        self._resync(self.farm, "join")
        threading.Thread(target=self._beats, daemon=True).start()
        try:
            while not self.leaving:
                for claim in self._next(1):
                    self._attempt(claim, function)
        except Stop:
            self.farm.redis.connection_pool.disconnect()  # an answer may be under way on it
        if self.results:
            self._next(0)
        self.left.set()
        self._resync(self.farm, "leave")

    def _next(self, wants):
        """Results in, at most one claim out; a lost answer is asked for again with the same nonce."""
        want = [0, 1, 200_000, "", "", 0] if wants else []
        flat = [word for result in self.results for word in result]
        while True:
            sent, nonce = now(), str(uuid.uuid4())
            status, _, wait, _, claims, _, _ = self.farm.call(
                "next", self.id, nonce, self._ms(), len(self.results), wants, 0, *flat, *want)
            if status != "UNKNOWN":
                break
            self._resync(self.farm, "join")  # the results are offered again, and refused if others have those tasks
        self.results, self.task = [], None
        if claims:
            self.lease_until = sent + self.lease - self.margin
            return claims
        if wants:
            self.inside = True  # a signal may end this wait
            if not self.leaving:
                self.farm.redis.blpop([self.farm.key("bell", self.profile)], timeout=max(0.01, int(wait) / 1000))
            self.inside = False
        return []

    def _attempt(self, claim, function):
        job = claim[1]
        if job not in self.specs:
            self.specs = {job: json.loads(self.farm.redis.get(self.farm.key("spec", job)))}
        task = self.task = Task(self, claim, self.specs[job])
        try:
            try:
                self.inside = True
                self.arm()
                function(task)
                outcome = task.verdict or (PASSED, "")
            except Exception as error:
                outcome = task.verdict or (FAILED, "%s: %s" % (type(error).__name__, error))
            finally:
                self.inside = False
        except Stop as stop:
            outcome = {"LOST": None, "CANCEL": (CANCELLED, ""), "LEAVE": (GIVEN_BACK, "")}.get(
                task.stop, (TIMED_OUT, str(stop)))
        signal.setitimer(signal.ITIMER_REAL, 0)
        if outcome is None:
            self.task = None  # somebody else's by now: say nothing
            return
        letter, message = outcome
        detail = {"message": message, "sections": [["log", task.text]] if task.text else []}
        self.results = [(task.fence, task.job, task.group, task.number, letter, int((now() - task.began) * 1e6), 0,
                         json.dumps(detail) if message or task.text else "")]

    # ---- signals, in the main thread

    def arm(self):
        signal.setitimer(signal.ITIMER_REAL, max(0.001, min(self.task.until, self.lease_until, now() + GLANCE) - now()))

    def _alarm(self, *_):
        task = self.task
        if not self.inside or task is None:
            return
        if now() >= self.lease_until:
            task.stop = "LOST"
        if task.stop or now() >= task.until:
            self.inside = False
            raise Stop("expired without an end or a sign of life")
        self.arm()

    def _leave(self, *_):
        again, self.leaving = self.leaving, True
        if self.inside and (self.task is None or again):
            self.inside = False
            if self.task:
                self.task.stop = "LEAVE"
            raise Stop("leaving")

    # ---- the beat, in a thread of its own

    def _beats(self):
        words = None
        while not self.left.is_set():
            try:
                if words is None:
                    words = self.pulse.redis.pubsub(ignore_subscribe_messages=True)
                    words.subscribe(self.pulse.key("control"))
                words.get_message(timeout=min(self.lease / 6, 5))  # a word: something must stop
                self._beat()
            except AWAY as error:  # an outage: what runs may go on until its lease could end
                print("no beat: %s" % error, file=sys.stderr)
                words = None
                time.sleep(0.2)

    def _beat(self):
        task, sent = self.task, now()
        age = int((sent - task.began) * 1000) if task else 0
        status, _, drain, answers, _ = self.pulse.call(
            "beat", self.id, self._ms(), "[]", *([task.fence, age] if task else []))
        if status == "UNKNOWN":
            answers = ["LOST"] if task and task.fence in self._resync(self.pulse, "join", task) else ["OK"]
        elif task:
            self.lease_until = sent + self.lease - self.margin + min(600, age / 10_000)
        if int(drain) == 2:  # 1: nothing more is given, and that may end
            os.kill(os.getpid(), signal.SIGTERM)
        if task and answers[0] not in ("OK", "LAST"):  # LAST: it has begun, and may end
            task.stop = answers[0].replace("STOP", "CANCEL").split(" ")[0]  # its only task is the one to stop
            signal.pthread_kill(threading.main_thread().ident, signal.SIGALRM)

    def _resync(self, farm, mode, task=None):
        """On the books, or off them; returns the claims that are no longer ours."""
        about, lost = json.dumps({"host": socket.gethostname(), "pid": os.getpid(), "protocol": 1}), []
        while True:
            word, _, *forget = farm.call(
                "resync", self.id, self._ms(), self.profile, 1, about, "", mode, *([task.fence] if task else []))
            lost += map(int, forget)
            if word == "OK":
                return lost

    def _ms(self):
        return int(self.lease * 1000)
