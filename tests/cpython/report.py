"""Runs one module of CPython's regression tests and reports each test's outcome on a line of its own.

The tests print, and what they print gets between a test's name and its outcome in the output of `python3 -m test -v`. The lines
here begin with a mark and are written at once:

    usk-test OUTCOME TEST
"""

import os
import resource

from test.libregrtest.main import main

try:
    from test.support.testresult import RegressionTestResult
except ImportError:
    # Where CPython 3.11.5 and later have it.
    from test.libregrtest.testresult import RegressionTestResult

OUTCOMES = {
    "addSuccess": "ok",
    "addFailure": "fail",
    "addError": "error",
    "addSkip": "skip",
    "addExpectedFailure": "expected-failure",
    "addUnexpectedSuccess": "unexpected-success",
}

# Some tests make as many descriptors as they may, or skip if they may make too many.
resource.setrlimit(resource.RLIMIT_NOFILE, (1024, 4096))


def report(method, outcome):
    original = getattr(RegressionTestResult, method)

    def reporting(self, test, *details):
        original(self, test, *details)
        os.write(1, f"\nusk-test {outcome} {test.id()}\n".encode())

    setattr(RegressionTestResult, method, reporting)


for method, outcome in OUTCOMES.items():
    report(method, outcome)
main()
