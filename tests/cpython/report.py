"""Runs one module of CPython's regression tests and reports each test's outcome on a line of its own.

The tests print, and what they print gets between a test's name and its outcome in the output of `python3 -m test -v`. The lines
here begin with a mark and are written at once:

    usk-test OUTCOME TEST
"""

import os

from test.libregrtest import main
from test.support.testresult import RegressionTestResult

OUTCOMES = {
    "addSuccess": "ok",
    "addFailure": "fail",
    "addError": "error",
    "addSkip": "skip",
    "addExpectedFailure": "expected-failure",
    "addUnexpectedSuccess": "unexpected-success",
}


def report(method, outcome):
    original = getattr(RegressionTestResult, method)

    def reporting(self, test, *details):
        original(self, test, *details)
        os.write(1, f"\nusk-test {outcome} {test.id()}\n".encode())

    setattr(RegressionTestResult, method, reporting)


for method, outcome in OUTCOMES.items():
    report(method, outcome)
main()
