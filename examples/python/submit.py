"""submit.py URL FARM COMMAND ITEM…: runs a command for each item on the farm's workers, `{}` being the item.

Opens a job, adds, seals, follows, frees (docs/protocol.md §4, §8, §11). The exit code is that of `remuda each`.
"""

import json
import os
import sys
import time
import uuid

from farm import Farm

GRACE = 120_000  # ms that the job outlives us
CHUNK = 200
WORDS = dict(P="passed", F="failed", E="errored", T="timed out", L="lost", S="skipped", C="cancelled")
CODES = {"passed": 0, "failed": 1}


def must(answer, *words):
    word = answer if isinstance(answer, str) else answer[0]
    if word not in words:
        sys.exit("refused: %s" % (answer,))


def describe(job, command):
    """The job as workers read it, and the same in the words of the scripts."""
    both = {"name": command, "submitter": os.environ.get("USER", "me"), "priority": 0, "weight": 1, "max_slots": 0,
            "max_failures": 0, "retention_ms": 86_400_000}
    group = {"name": "each", "kind": "tests", "retries": 0, "max_losses": 1}
    spec = {**both, "protocol": 1, "id": job, "project": "example", "deadline_ms": None, "detach": False,
            "detail_budget": 1 << 26, "tree": {"path": os.getcwd(), "host": "", "mark": ""}, "env": {}, "pools": {},
            "groups": [{**group, "needs": [], "collects": None, "adapter": "command", "template": {"shell": command},
                        "lanes": [{"labels": [], "locks": {}, "warm": False}],
                        "timeout_ms": None, "grace_ms": 10_000, "slow_ms": 60_000, "env": {}}]}
    plan = {**both, "deadline_ms": 0, "detach": 0, "det_budget": 1 << 26, "pools": {},
            "lanes": [{"group": "0", "class": "", "locks": "", "warm": 0}],
            "groups": [{**group, "needs": 0, "deps": "", "lanes": "0", "collects": 0, "collector": 0}]}
    return json.dumps(spec), json.dumps(plan)


def submit(farm, owner, command, items):
    job = str(uuid.uuid4())
    must(farm.call("open", job, *describe(job, command), owner, GRACE), "OK", "EXISTS")
    for first in range(0, len(items), CHUNK):
        ids = items[first:first + CHUNK]
        run = "%d,%d,-1,-1," % (first, len(ids))  # one run of tasks whose time nobody knows
        must(farm.call("add", job, 0, 0, first, len(ids), *ids, 0, run), "OK", "DUP")
    must(farm.call("seal", job, 0, 0, len(items), 0, 0), "OK", "DUP", "EOVER")
    must(farm.call("seal", job, -1, 0, 0, 0, 0), "OK", "DUP", "EOVER")
    return job


def follow(farm, owner, job):
    """Yields each line of the job's events, then its last state."""
    epoch, last = 1, "0-0"
    while True:
        word, epoch, state, seq, _ = farm.call("adopt", job, owner, epoch, GRACE, 0)  # renews the owner's deadline
        must(word, "OK")
        farm.call("reap", 100)
        for last, fields in farm.redis.xrange(farm.key("events", job), min="(" + last, count=200):
            yield from fields["e"].split("\n")
        if last == seq and state in ("passed", "failed", "cancelled", "incomplete"):
            return state
        time.sleep(0.1)


def show(farm, job, items, line):
    words = line.split(" ")
    if words[0] not in "=-" or len(words) < 6:
        return
    _, group, task, outcome, fence, us = words[:6]
    detail = farm.redis.hget(farm.key("det", job, group, int(task) // 100), "%s:%s" % (task, fence))
    why = json.loads(detail).get("message", "") if detail else ""
    again = ", again" if words[0] == "-" else ""
    print("%s: %s in %.3f s%s%s" % (items[int(task)], WORDS[outcome], int(us) / 1e6, why and " (%s)" % why, again))


def main(url, name, command, *items):
    farm, owner = Farm(url, name), str(uuid.uuid4())
    job = submit(farm, owner, command, items)
    events = follow(farm, owner, job)
    try:
        while True:
            show(farm, job, items, next(events))
    except StopIteration as end:
        state = end.value
    except KeyboardInterrupt:
        farm.call("cancel", job, "user", "")
        sys.exit(130)
    print(state)
    while farm.call("gc", CHUNK, job)[1]:
        pass
    sys.exit(CODES.get(state, 6))


if __name__ == "__main__":
    if len(sys.argv) < 5:
        sys.exit(__doc__)
    main(*sys.argv[1:])
