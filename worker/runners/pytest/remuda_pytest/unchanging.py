"""What pytest works out anew for every test although it is the same for many: a runner remembers it.

Used by host.py before the fork, and by runner.py. Every answer is one that pytest itself has given before; where a
plugin, a subclass or another version of pytest has ways of its own, pytest goes on asking them. In a suite of many
short tests these questions are a quarter of a runner's time.
"""

import types

import pluggy
import pytest
from _pytest import fixtures
from _pytest.nodes import Item

# Older ones do not show a plugin that is registered later to the hooks without some conftest.py.
LIVE_SUBSETS = hasattr(pluggy._hooks, "_SubsetHookCaller")


def remember(session):
    _remember_arguments()
    _remember_hooks(session)


def _remember_arguments():
    """The names of a fixture function's arguments: pytest 9 asks for those of `request` twice a test and more."""
    ask = getattr(fixtures, "getfuncargnames", None)
    known = {}

    def getfuncargnames(function, **named):
        if not (_is_plain(function) and set(named) == {"name"}):
            return ask(function, **named)
        code = function.__code__
        # By identity, and with the code kept alive: to hash a code object is to hash all that is in it.
        found = known.get(id(code))
        if found is None:
            found = known[id(code)] = (code, ask(function, **named))
        return found[1]

    if ask is not None:
        fixtures.getfuncargnames = getfuncargnames


def _is_plain(function):
    """Whether its code alone decides which arguments it has."""
    return (
        type(function) is types.FunctionType
        and not function.__dict__
        and function.__defaults__ is None
        and function.__kwdefaults__ is None
    )


def _remember_hooks(session):
    """Which hooks apply to a file: all but those of conftest.py files elsewhere, asked for some 15 times a test."""
    ask = session.gethookproxy
    every = session.config.hook
    conftests = getattr(session.config.pluginmanager, "_conftest_plugins", None)
    known = {}
    count = 0

    def gethookproxy(path):
        nonlocal count
        if len(conftests) != count:
            known.clear()
            count = len(conftests)
        found = known.get(path)
        if found is None:
            found = ask(path)
            if found is every or LIVE_SUBSETS:
                known[path] = found
        return found

    if conftests is not None:
        session.gethookproxy = gethookproxy


class Locations:
    """`item.location`: path and line are those of the function, whatever its parameters."""

    def __init__(self):
        self.known = {}
        self.usual = pytest.Function.reportinfo.__module__ == "_pytest.python" and "location" in vars(Item)

    def tell(self, item):
        """Give the item the location that it would find out by itself."""
        if not self.usual or type(item) is not pytest.Function or "location" in item.__dict__:
            return
        function = getattr(item.obj, "__func__", item.obj)
        key = id(item.parent), id(function)
        found = self.known.get(key)
        if found is not None:
            path, line, prefix, _ = found
            item.__dict__["location"] = path, line, prefix + item.name
            return
        path, line, name = item.location
        if name.endswith(item.name):
            self.known[key] = path, line, name[: len(name) - len(item.name)], function
