"""What pytest works out anew for every test although it is the same for many, or nothing: here it is remembered, or not
asked for.

Used by loader.py before the session, by plugin.py before the collection, by host.py before the fork, and by runner.py.
Every answer is one that pytest itself gives; where a plugin, a subclass or another version of pytest has ways of its own,
pytest goes on asking them. In a suite of many short tests these questions are a quarter of a runner's time, and a sixth of
the collection's.
"""

import marshal
import types

import pluggy
import pytest
from _pytest import fixtures, python
from _pytest.assertion import rewrite
from _pytest.nodes import Item
from _pytest.scope import Scope

# Older ones do not show a plugin that is registered later to the hooks without some conftest.py.
LIVE_SUBSETS = hasattr(pluggy._hooks, "_SubsetHookCaller")


def hasten_imports():
    """pytest has compiled modules read from their files bit by bit: that takes five times as long as all at once."""
    rewrite.marshal = types.SimpleNamespace(
        load=lambda file: marshal.loads(file.read()), loads=marshal.loads, dumps=marshal.dumps
    )


def hasten_collection():
    _keep_order_of_items()
    _ask_nobody_for_names()


def _keep_order_of_items():
    """Items move together for the sake of parameters of classes, modules and so on: without any, nothing moves."""
    ask = getattr(fixtures, "reorder_items", None)

    def reorder_items(items):
        if all(_has_own_parameters_only(item) for item in items):
            return list(dict.fromkeys(items))
        return ask(items)

    if ask is not None:
        fixtures.reorder_items = reorder_items


def _has_own_parameters_only(item):
    callspec = getattr(item, "callspec", None)
    scopes = {} if callspec is None else getattr(callspec, "_arg2scope", None)
    return scopes is not None and all(scope is Scope.Function for scope in scopes.values())


def _ask_nobody_for_names():
    """The name of every parameter's value is asked of a hook that few suites have."""
    maker = getattr(python, "IdMaker", None)
    ask = getattr(maker, "_idval_from_hook", None)

    def _idval_from_hook(self, val, argname):
        if self.config is not None and not self.config.hook.pytest_make_parametrize_id.get_hookimpls():
            return None
        return ask(self, val, argname)

    if ask is not None:
        maker._idval_from_hook = _idval_from_hook


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
