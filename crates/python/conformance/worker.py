"""Runs one class of the suite, and says what became of each test: a line of JSON each, on the descriptor given.

``worker.py METHOD CLASS FD [TEST ..]``; the tests named are left out.
"""

import importlib
import json
import os
import signal
import sys
import unittest

import suite


class Result(unittest.TestResult):
    """What is known is written at once, because a test may take the process with it."""

    def __init__(self, out):
        super().__init__()
        self._out = out

    def _say(self, test, status, detail=''):
        name = getattr(test, '_testMethodName', None) or str(test)
        print(json.dumps([name, status, detail]), file=self._out, flush=True)

    def startTest(self, test):
        super().startTest(test)
        self._say(test, 'started')

    def addSuccess(self, test):
        self._say(test, 'passed')

    def addSkip(self, test, reason):
        self._say(test, 'skipped', reason)

    def addFailure(self, test, err):
        self._say(test, 'failed', self._exc_info_to_string(err, test))

    addError = addFailure

    def addSubTest(self, test, subtest, err):
        if err is not None:
            self.addFailure(test, err)

    def addExpectedFailure(self, test, err):
        self._say(test, 'passed')

    def addUnexpectedSuccess(self, test):
        self._say(test, 'failed', 'it was expected to fail')


def main(method, name, fd, *left_out):
    out = os.fdopen(int(fd), 'w')
    os.set_inheritable(out.fileno(), False)
    # As a shell would have it: a test may send SIGINT.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    module = importlib.import_module(f'{suite.PACKAGE}.{method}')
    tests = unittest.defaultTestLoader.loadTestsFromTestCase(getattr(module, name))
    unittest.TestSuite(test for test in tests if test._testMethodName not in left_out).run(Result(out))
    out.flush()


if __name__ == '__main__':
    main(*sys.argv[1:])
