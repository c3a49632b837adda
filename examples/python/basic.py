"""basic.py URL [FARM]: a worker with code of its own, the twin of examples/basic.rs: log, expire, finish."""

import sys
import time

from tasks import PASSED, Refused, TaskQueue


def handle(task):
    task.log("%s, attempt %d" % (task.id, task.attempt))
    if task.id == "first":
        time.sleep(15)  # longer than its timeout: ended there, and tried again
    elif task.id == "second":
        try:
            task.expire_in(60)
        except Refused as refused:
            task.log(str(refused))
        task.expire()  # "not me, not now": accepted until the retries are used up
    else:
        task.finish(PASSED)


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    TaskQueue(*sys.argv[1:]).each_task(handle)
