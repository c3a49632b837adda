"""The cases, in the order in which they are measured. Each takes the bench and returns a report."""

import functools

from . import each, farm, fixtures, idle, protocol, recovery, rust, skew, stream, suites

ALL = {
    "each": each.run,
    "stream": stream.run,
    "fixtures": fixtures.run,
    "skew": skew.run,
    **{name: functools.partial(suites.run, name) for name in suites.LIMITS},
    "protocol": protocol.run,
    "rust": rust.run,
    "recovery": recovery.run,
    "attach": farm.attach,
    "cancel": farm.cancel,
    "idle": idle.run,
}
