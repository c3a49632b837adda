"""The room that stack.py makes for frames."""

import importlib.util
import pathlib
import resource
import sys

import pytest

SOURCE = pathlib.Path(__file__).parent.parent / "remuda_pytest" / "stack.py"
SPEC = importlib.util.spec_from_file_location("stack", SOURCE)
stack = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(stack)

CALLS = 200


def faults_of_calls_at(depth):
    """Page faults of many short calls made `depth` frames further down."""

    def shallow():
        local = 0
        return local

    def descend(left):
        if left:
            return descend(left - 1)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        for _ in range(CALLS):
            shallow()
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

    return descend(depth)


def test_it_only_calls():
    assert stack.with_room(lambda *args, **named: (args, named), 1, b=2) == ((1,), {"b": 2})


@pytest.mark.skipif(sys.version_info < (3, 11), reason="frames are not kept in chunks")
def test_no_depth_has_calls_that_cost_a_chunk_each():
    assert max(stack.with_room(faults_of_calls_at, depth) for depth in range(0, 300)) < CALLS // 2
    # Without it there are such depths, or this test shows nothing.
    assert max(faults_of_calls_at(depth) for depth in range(0, 300)) >= CALLS // 2
