"""The folder for temporary files of a session: the loader makes it, and each runner has a folder of its own in it.

Tests find what is common to all runners beside their own folder, as under xdist. Knows pytest's factory so that no other
file has to; used by host.py and worker.py.
"""

import atexit
import contextlib


def _factory(config):
    return getattr(config, "_tmp_path_factory", None)


class Shared:
    """Made in the loader, before the first fork."""

    def __init__(self, config):
        self.factory = _factory(config)
        self.own = self.factory is not None and self.factory._basetemp is None and self.factory._given_basetemp is None
        self.folder = self.factory.getbasetemp() if self.factory is not None else None

    def forget_unused(self):
        """At the loader's end: serial pytest makes a folder only if it is asked for one.

        With it goes the search through the folders of earlier sessions, which may be thousands.
        """
        stack = getattr(self.factory, "_exit_stack", None)
        # Older factories clean up only when the interpreter exits, and cannot be told not to.
        if not self.own or stack is None or self._used():
            return
        atexit.unregister(stack.close)
        stack.pop_all()
        self.factory._basetemp = None
        with contextlib.suppress(OSError):
            (self.folder / ".lock").unlink()
            self.folder.rmdir()
            current = self.folder.with_name("pytest-current")
            if current.is_symlink() and not current.exists():
                current.unlink()

    def _used(self):
        try:
            return any(one.name != ".lock" for one in self.folder.iterdir())
        except OSError:
            return True


def move(config, name):
    """In a runner: its own folder in the common one, which remains the loader's to clean up."""
    factory = _factory(config)
    if factory is None or factory.getbasetemp().name == "popen-" + name:
        return
    factory._given_basetemp = factory.getbasetemp() / ("popen-" + name)
    factory._basetemp = None
