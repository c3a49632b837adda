"""The cases, in the order in which they are measured. Each takes the bench and returns a report."""

import functools

from . import each, fixtures, idle, protocol, recovery, skew, suites

ALL = {
    "each": each.run,
    "fixtures": fixtures.run,
    "skew": skew.run,
    **{name: functools.partial(suites.run, name) for name in suites.LIMITS},
    "protocol": protocol.run,
    "recovery": recovery.run,
    "idle": idle.run,
}
