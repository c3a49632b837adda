"""The collected items as manifest entries, in parts of at most 1,000.

Must not touch what a test would touch (no fixture, no instance of a test class).
"""

import itertools

import pytest

PART = 1000
GROUP = "xdist_group"


def parts(items, uncollected):
    """The items, then one entry for each file or class that gave none: it was skipped, or could not be collected."""
    entries = Entries()
    part = []
    for item in itertools.chain(items, uncollected):
        part.append(entries.of_item(item) if isinstance(item, pytest.Item) else entries.stand_in(item))
        if len(part) == PART:
            yield {"type": "manifest_part", "tests": part}
            part = []
    if part:
        yield {"type": "manifest_part", "tests": part}


class Entries:
    """Makes them in the order of collection: what neighbours share is looked up once."""

    def __init__(self):
        self.seen = {}
        self.parent = None
        self.scope = ""
        self.group = None

    def of_item(self, item):
        if item.parent is not self.parent:
            self._enter(item.parent)
        nodeid = item.nodeid
        found = {
            "id": self._unique(nodeid),
            "file": nodeid.partition("::")[0],
            "scope": self.scope,
            "line": _line(item),
        }
        own = any(mark.name == GROUP for mark in item.own_markers)
        group = _group(item) if own else self.group
        if group is not None:
            found["group"] = group
        return found

    def stand_in(self, report):
        nodeid = report.nodeid
        return {"id": self._unique(nodeid), "file": nodeid.partition("::")[0], "scope": nodeid, "line": 0}

    def _enter(self, parent):
        """The node whose fixtures the items that follow share: class or file."""
        self.parent = parent
        self.scope = parent.nodeid if parent is not None else ""
        self.group = _group(parent) if parent is not None else None

    def _unique(self, nodeid):
        """Ids must be unique; pytest lets --keep-duplicates and some plugins repeat them."""
        count = self.seen[nodeid] = self.seen.get(nodeid, 0) + 1
        return nodeid if count == 1 else "%s (%d)" % (nodeid, count)


def _line(item):
    function = getattr(item, "_obj", None)
    code = getattr(getattr(function, "__func__", function), "__code__", None)
    return code.co_firstlineno if code is not None else 0


def _group(node):
    """The name in @pytest.mark.xdist_group."""
    mark = node.get_closest_marker(GROUP)
    if mark is None:
        return None
    return str(mark.args[0] if mark.args else mark.kwargs.get("name", "default"))
