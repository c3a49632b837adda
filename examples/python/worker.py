"""worker.py URL [FARM]: runs the commands of a farm's jobs, one at a time.

`remuda each` on any machine can give it work: a worker in another language is a worker like any other.
"""

import os
import signal
import subprocess
import sys

from tasks import FAILED, TaskQueue


def run(task):
    process = subprocess.Popen(task.command, cwd=task.spec["tree"]["path"], env=task.environment, text=True,
                               stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                               errors="replace", start_new_session=True)
    try:
        for line in process.stdout:
            task.log(line.rstrip("\n"))
        code = process.wait()
    except BaseException:  # whatever stops the task stops what it started
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        raise
    if code:
        task.finish(FAILED, "exit code %d" % code)


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    lease = float(os.environ.get("REMUDA_EXAMPLE_LEASE", "30"))
    TaskQueue(sys.argv[1], *sys.argv[2:], lease=lease).each_task(run)
