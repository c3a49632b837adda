"""Room for the frames of a whole session in one piece.

CPython from 3.11 on keeps the frames of a thread in chunks of 16 KiB and gives a chunk back as soon as
it is empty. A call that happens to cross the end of a chunk costs an mmap, a page fault and a munmap, and
a test that makes that call in a loop runs up to a quarter slower: which test that is depends on nothing
but the depth at which the framework calls it. A frame that needs more than a chunk gets a chunk of twice
the size or less, so beneath one very large frame there is room for all others.
"""

import sys

# Of 8 bytes: just above half a MiB, so that its chunk has 1 MiB.
LARGE = (512 << 10) // 8 + 64


def with_room(function, *arguments, **named):
    """function(*arguments, **named)"""
    return function(*arguments, **named)


if sys.implementation.name == "cpython" and sys.version_info >= (3, 11):
    with_room.__code__ = with_room.__code__.replace(co_stacksize=LARGE)
