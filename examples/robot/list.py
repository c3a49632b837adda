"""Prints the long names of all tests."""

import sys

from robot.api import TestSuite


def names(suite):
    yield from (test.longname for test in suite.tests)
    for inner in suite.suites:
        yield from names(inner)


print("\n".join(names(TestSuite.from_file_system(sys.argv[1]))))
