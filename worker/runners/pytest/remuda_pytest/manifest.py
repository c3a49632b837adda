"""The collected items as manifest entries, in parts of at most 1,000.

Must not touch what a test would touch (no fixture, no instance of a test class).
"""

import itertools

import pytest

PART = 1000


def parts(items, uncollected):
    """The items, then one entry for each file or class that gave none: it was skipped, or could not be collected."""
    seen = {}
    part = []
    for item in itertools.chain(items, uncollected):
        part.append(entry(item, seen) if isinstance(item, pytest.Item) else _stand_in(item, seen))
        if len(part) == PART:
            yield {"type": "manifest_part", "tests": part}
            part = []
    if part:
        yield {"type": "manifest_part", "tests": part}


def _unique(nodeid, seen):
    """Ids must be unique; pytest lets --keep-duplicates and some plugins repeat them."""
    count = seen[nodeid] = seen.get(nodeid, 0) + 1
    return nodeid if count == 1 else "%s (%d)" % (nodeid, count)


def _stand_in(report, seen):
    nodeid = report.nodeid
    return {"id": _unique(nodeid, seen), "file": nodeid.partition("::")[0], "scope": nodeid, "line": 0}


def entry(item, seen):
    nodeid = item.nodeid
    found = {
        "id": _unique(nodeid, seen),
        "file": nodeid.partition("::")[0],
        "scope": _scope(item),
        "line": _line(item),
    }
    group = _group(item)
    if group is not None:
        found["group"] = group
    return found


def _scope(item):
    """The node whose fixtures the item shares with its neighbours: class or file."""
    parent = item.parent
    return parent.nodeid if parent is not None else ""


def _line(item):
    function = getattr(item, "_obj", None)
    code = getattr(getattr(function, "__func__", function), "__code__", None)
    return code.co_firstlineno if code is not None else 0


def _group(item):
    """The name in @pytest.mark.xdist_group."""
    mark = item.get_closest_marker("xdist_group")
    if mark is None:
        return None
    return str(mark.args[0] if mark.args else mark.kwargs.get("name", "default"))
