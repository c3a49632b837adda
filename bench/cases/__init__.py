"""The cases, in the order in which they are measured."""

from . import each, fixtures, idle, protocol, recovery, skew, suites

ALL = {case.__name__.rsplit(".", 1)[-1]: case for case in (each, fixtures, skew, suites, protocol, recovery, idle)}
