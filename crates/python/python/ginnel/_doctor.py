"""What ``python -m ginnel doctor`` tries. A module of its own: its functions run in children of every start method."""

import os
import resource
import sys

from . import get_all_start_methods, get_context

# Seconds for a child to answer.
_PATIENCE = 30


def findings():
    """Does one check after the other; gives ``ok``, ``warn`` or ``fail`` and what was found for each."""
    for check in _kernel, _files, _processors:
        yield _outcome(check)
    for method in get_all_start_methods():
        yield _outcome(_round_trip, method)


def _outcome(check, *args):
    try:
        return check(*args)
    except Exception as error:
        return 'fail', f'{" ".join((check.__name__.strip("_"), *args))}: {type(error).__name__}: {error}'


def _kernel():
    release = os.uname().release
    version = tuple(int(part) for part in release.split('-')[0].split('.')[:2])
    found = f'Python {sys.version.partition(" ")[0]} on Linux {release}'
    return ('ok', found) if version >= (5, 15) else ('warn', f'{found}; tested from 5.15')


def _files():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    found = f'{soft} open files ({hard} at most)'
    return ('ok', found) if soft >= 256 else ('warn', f'{found}: for many processes `ulimit -n 1024`')


def _processors():
    count = len(os.sched_getaffinity(0))
    return ('ok', f'{count} processors') if count > 1 else ('warn', '1 processor: nothing runs at the same time')


def _round_trip(method):
    context = get_context(method)
    here, there = context.Queue(), context.Queue()
    child = context.Process(target=_echo, args=(here, there), daemon=True)
    child.start()
    here.put('hello')
    answer = there.get(timeout=_PATIENCE)
    child.join(_PATIENCE)
    if answer != 'hello' or child.exitcode != 0:
        return 'fail', f'{method}: a child answered {answer!r} and ended with {child.exitcode}'
    return 'ok', f'{method}: a child answered'


def _echo(here, there):
    there.put(here.get())
