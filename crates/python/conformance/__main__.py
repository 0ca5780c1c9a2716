"""Runs the interpreter's own tests of multiprocessing against ginnel.

    python crates/python/conformance [--start fork,spawn,forkserver] [--only REGEX] [--json FILE]

In a virtual environment in which ginnel is installed (some tests start interpreters that look nowhere else);
``cargo xtask conformance`` makes one. Each class of tests is a process of its own and has ``--limit`` seconds: what
runs by then is killed and counts as failed, and the class goes on without it. ``--module multiprocessing`` is the
control. The last line counts; the exit status is 1 when a test failed that ``internal`` does not name.
"""

import argparse
import collections
import concurrent.futures
import importlib
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import sysconfig
import time
import unittest

import internal
import suite

HERE = pathlib.Path(__file__).parent


def arguments():
    parser = argparse.ArgumentParser(prog='conformance', description=__doc__.partition('\n')[0])
    parser.add_argument('--module', default='ginnel', help='what is tested (multiprocessing: the control)')
    parser.add_argument('--start', default=','.join(suite.METHODS), help='start methods, with commas between')
    parser.add_argument('--only', default='', metavar='REGEX', help='only these; looked for in Class.test')
    parser.add_argument('--jobs', type=int, default=os.cpu_count(), help='classes at a time')
    parser.add_argument('--limit', type=float, default=300, help='seconds for a class')
    parser.add_argument('--json', metavar='FILE', help='where to write what became of each test')
    parser.add_argument('--verbose', action='store_true', help='whole tracebacks')
    chosen = parser.parse_args()
    chosen.start = chosen.start.split(',')
    if unknown := set(chosen.start) - set(suite.METHODS):
        parser.error(f'no such start method: {", ".join(sorted(unknown))}')
    if sys.prefix == sys.base_prefix:
        parser.error('this is not a virtual environment, and the tests are written into its site-packages')
    return chosen


def cases(method, only):
    """The classes of that method and those tests of each that were asked for."""
    module = importlib.import_module(f'{suite.PACKAGE}.{method}')
    found = {}
    for name, case in sorted(vars(module).items()):
        if isinstance(case, type) and issubclass(case, unittest.TestCase):
            tests = unittest.defaultTestLoader.getTestCaseNames(case)
            found[name] = [test for test in tests if re.search(only, f'{name}.{test}')], list(tests)
    return {name: tests for name, tests in found.items() if tests[0]}


def run_class(method, name, wanted, every, limit):
    """What became of each test: ``{name: (status, detail)}``."""
    known = {}
    left_out = set(every) - set(wanted)
    end = time.monotonic() + limit
    while True:
        events, why = run_worker(method, name, left_out, end - time.monotonic())
        for test, status, detail in events:
            # A class or module that cannot be set up has no test to name.
            known[test] = status, detail
        hung = [test for test, (status, _) in known.items() if status == 'started']
        for test in hung:
            known[test] = 'failed', why
        left_out |= set(known)
        missing = [test for test in wanted if test not in known]
        # It goes on without the tests that ended it, while there are such.
        if not missing or not hung:
            break
        end = max(end, time.monotonic() + limit / 2)
    silent = 'skipped' if any(status == 'skipped' for status, _ in known.values()) else 'failed'
    return known | {test: (silent, 'it was never reached') for test in missing}


def run_worker(method, name, left_out, limit):
    """The lines that it wrote, and why it ended."""
    reader, writer = os.pipe()
    command = [sys.executable, str(HERE / 'worker.py'), method, name, str(writer), *sorted(left_out)]
    # A session of its own: whatever is left of it is killed, and nothing else.
    worker = subprocess.Popen(command, pass_fds=[writer], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL, start_new_session=True, cwd=suite_directory())
    os.close(writer)
    why = ''
    with concurrent.futures.ThreadPoolExecutor(1) as reading:
        lines = reading.submit(read_all, reader)
        try:
            status = worker.wait(max(limit, 1))
            why = f'the process ended in the middle of it, with status {status}'
        except subprocess.TimeoutExpired:
            why = f'it still ran when the {limit:.0f} s of its class were over'
        finally:
            sweep(worker)
        events = [json.loads(line) for line in lines.result().splitlines() if line.endswith(']')]
    return events, why


def read_all(fd):
    with open(fd) as file:
        return file.read()


def sweep(worker):
    """Kills what is left of the session, after a moment for those that are about to end."""
    end = time.monotonic() + (5 if worker.poll() is not None else 0)
    try:
        while time.monotonic() < end:
            os.killpg(worker.pid, 0)
            time.sleep(0.05)
        os.killpg(worker.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    worker.wait()


def suite_directory():
    return sysconfig.get_path('purelib')


def run_method(method, chosen):
    """Runs all classes; gives ``{'Class.test': (status, detail)}``."""
    results = {}
    with concurrent.futures.ThreadPoolExecutor(chosen.jobs) as running:
        futures = {running.submit(run_class, method, name, *tests, chosen.limit): name
                   for name, tests in cases(method, chosen.only).items()}
        for future in concurrent.futures.as_completed(futures):
            name = futures[future]
            known = future.result()
            results.update({f'{name}.{test}': outcome for test, outcome in known.items()})
            counts = collections.Counter(status for status, _ in known.values())
            print(f'{method:<10} {name:<44}', ', '.join(f'{n} {status}' for status, n in sorted(counts.items())),
                  flush=True)
    return results


def report(method, results, verbose):
    """Prints what failed; gives how many tests passed, failed, are internal and failed, were skipped."""
    counts = collections.Counter()
    for name, (status, detail) in sorted(results.items()):
        why = internal.reason(name)
        if status == 'failed' and why:
            status = 'internal'
        counts[status] += 1
        if status in ('failed', 'internal'):
            last = detail.strip() if verbose else (detail.strip().splitlines() or [''])[-1]
            print(f'{method} {status}: {name}: {why or last}')
    return counts


def main():
    chosen = arguments()
    print('tests:', suite.write(suite_directory(), chosen.module), 'on Python', sys.version.partition(' ')[0])
    total, everything = collections.Counter(), {}
    for method in chosen.start:
        results = everything[method] = run_method(method, chosen)
        counts = report(method, results, chosen.verbose)
        total += counts
        print(f'{method}: {counts["passed"]} passed, {counts["failed"]} failed, '
              f'{counts["internal"]} internal failed, {counts["skipped"]} skipped\n', flush=True)
    if chosen.json:
        pathlib.Path(chosen.json).write_text(json.dumps(everything, indent=1))
    print(f'{total["passed"]} passed, {total["failed"]} failed, {total["internal"]} internal, '
          f'{total["skipped"]} skipped')
    return 1 if total['failed'] or not total['passed'] else 0


if __name__ == '__main__':
    sys.exit(main())
