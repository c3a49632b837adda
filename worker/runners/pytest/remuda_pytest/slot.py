"""A slot as the loader holds it: the monitor, its runner and the pipes to both.

Made by host.py for every fork, and given to replay.py with the crash of a runner. It only remembers: it neither
forks nor reads.
"""

import mmap

from . import runner


class Slot:
    """A monitor, its runner and the pipes to both."""

    def __init__(self, number, node):
        self.slot = number
        self.node = node
        self.monitor = 0
        self.runner = 0
        self.status = None
        self.stopped = False
        self.buffer = b""
        self.page = mmap.mmap(-1, mmap.PAGESIZE)
        self.channel = None
        self.reports = None

    def current(self):
        """The test that was running when the runner wrote its page last; None between tests."""
        number = runner.CURRENT.unpack_from(self.page, 0)[0]
        return number - 1 if number else None

    def trouble(self):
        return "the runner ended with wait status %d" % self.status if self.status else None
