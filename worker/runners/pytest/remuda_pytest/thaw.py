"""The objects of the collection, frozen before the fork and thawed for whoever asks for them.

Frozen objects cost no pass of the garbage collector, and their memory stays shared between forks. But they are not among
those that the `gc` module tells of, nor are they ever collected: so a test that asks about them, or collects, thaws them
first. What such a test costs it costs in serial pytest, too.
"""

import functools
import gc

_TELLING = ("get_objects", "get_referrers", "get_freeze_count")
_frozen = False
_thawed_by = set()


def prepare():
    """Before the suite is imported: it may take the functions by their names."""
    for name in _TELLING + ("collect",):
        setattr(gc, name, _thawing(name, getattr(gc, name)))


def _thawing(name, question):
    @functools.wraps(question)
    def ask(*args, **named):
        global _frozen
        if _frozen and name in _thawed_by:
            _frozen = False
            gc.unfreeze()
        return question(*args, **named)

    return ask


def freeze_pytest():
    """Before anything of the suite is imported: no pass of the collection need look at pytest's own objects."""
    _freeze()


def freeze():
    """What is there now is for all forks. The loader's own collections at its end are not for the suite's sake."""
    gc.collect()
    _freeze()


def _freeze():
    global _frozen
    gc.freeze()
    _frozen = True
    _thawed_by.update(_TELLING)


def thaw():
    """Without forks there is nothing to share."""
    global _frozen
    _frozen = False
    gc.unfreeze()


def in_runner():
    """From now on it is tests that collect."""
    _thawed_by.add("collect")
