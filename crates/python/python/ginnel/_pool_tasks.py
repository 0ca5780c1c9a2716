"""Tasks of a pool on their way to a worker, what the worker does with them, and their outcomes on the way back.

The names of tasks and outcomes are a job (its result's number) and an index in it; ``Desk`` carries them.
"""

import copyreg
import importlib
import itertools
import sys
import types

from multiprocessing import process, util
from multiprocessing.context import ProcessError, get_spawning_popen
from multiprocessing.pool import ExceptionWithTraceback, MaybeEncodingError
from multiprocessing.reduction import ForkingPickler

from . import _ginnel, _share

# Kinds of outcomes: a value, an exception, a task that is given up because its workers died, a death, that all deaths
# have been told, nothing at all.
VALUE, FAILED, LOST, DIED, TOLD, WAKE = range(6)

# What a task asks for: one call, or a call for each of its items.
CALL, MAP, STARMAP = range(3)

# Seconds after which an idle worker, and a thread of a pool that waits for room, look whether they are still wanted.
PAUSE = 1.0


class WorkerDied(ProcessError):
    """The worker process died while it was at the task: it was killed, it crashed, or the task ended it.

    ``pid`` and ``exitcode`` are those of the last worker that had the task (as ``Process.exitcode``: negative for a
    signal). The task may have had effects.
    """

    __module__ = 'ginnel.pool'

    def __init__(self, pid=None, exitcode=None):
        super().__init__(pid, exitcode)
        self.pid = pid
        self.exitcode = exitcode

    def __str__(self):
        return f'worker process {self.pid} died during the task (exit code {self.exitcode})'


def name_of(function):
    """Module and name of a function that every process finds there, as pickling by reference does; else None and it."""
    kind = type(function)
    if kind is types.FunctionType or kind is types.BuiltinFunctionType:
        module, name = function.__module__, function.__qualname__
        if (getattr(sys.modules.get(module), name, None) is function
                and kind not in copyreg.dispatch_table and kind not in ForkingPickler._extra_reducers):
            return module, name
    return None, function


def chunks(what, function, iterable, size):
    """The tasks (index, task) of a map over chunks of ``size``."""
    module, function = name_of(function)
    items = iter(iterable)
    for index in itertools.count():
        chunk = tuple(itertools.islice(items, size))
        if not chunk:
            return
        yield index, (what, module, function, chunk, None)


def calls(function, iterable):
    """The tasks (index, task) of a call for each item."""
    module, function = name_of(function)
    for index, item in enumerate(iterable):
        yield index, (CALL, module, function, (item,), {})


def worker(desk, seat, initializer=None, initargs=(), maxtasks=None, wrap_exception=False, retries=0):
    """What a worker process does: takes tasks at ``desk`` until there are no more, or ``maxtasks`` of them."""
    if initializer is not None:
        initializer(*initargs)
    parent = process.parent_process()
    functions = {}
    completed = 0
    while maxtasks is None or completed < maxtasks:
        try:
            found = desk.take_task(seat, PAUSE)
        except EOFError:
            break
        if found is None:
            if parent is not None and not parent.is_alive():
                break
            continue
        job, index, deaths, is_whole, task = found
        if deaths > retries:
            desk.put_outcome(job, index, LOST, None, None)
        else:
            kind, value = VALUE, None
            try:
                if not is_whole:
                    raise task
                value = _run(task, functions)
            except Exception as error:
                kind, value = FAILED, _failure(error, wrap_exception)
            try:
                desk.put_outcome(job, index, kind, value, None)
            except Exception as error:
                desk.put_outcome(job, index, FAILED, _unsent(error, value), None)
        desk.task_done(seat)
        found = task = value = None
        completed += 1
    util.debug('worker exiting after %d tasks', completed)


def _run(task, functions):
    what, module, function, args, kwds = task
    if module is not None:
        try:
            function = functions[module, function]
        except KeyError:
            name = function
            function = functions[module, name] = getattr(importlib.import_module(module), name)
    if what == CALL:
        return function(*args, **kwds)
    if what == MAP:
        return list(map(function, args))
    return list(itertools.starmap(function, args))


def _failure(error, wrap_exception):
    """An exception on its way: in words, and pickled. Only the words are sure to arrive."""
    wrapped = ExceptionWithTraceback(error, error.__traceback__)
    try:
        return wrapped.tb, bytes(ForkingPickler.dumps(wrapped if wrap_exception else error))
    except Exception as refused:
        return _unsent(refused, error)


def _unsent(error, value):
    return '', bytes(ForkingPickler.dumps(MaybeEncodingError(error, value)))


def rebuilt(failure):
    words, pickled = failure
    try:
        return ForkingPickler.loads(pickled)
    except Exception as error:
        return unreadable(error, words)


def unreadable(error, words=''):
    failure = RuntimeError(f'the outcome of a task could not be rebuilt: {error!r}{words}')
    failure.__cause__ = error
    return failure


def _desk_of(uuid, parts):
    return _ginnel.Desk.at([(uuid, index, generation) for index, generation in parts])


def _reduce_desk(desk):
    popen = get_spawning_popen()
    if popen is None:
        raise RuntimeError('the desk of a pool is for its workers')
    # As ``_share.state_of`` does for an object with one address.
    vars(popen).setdefault('_ginnel_kept', []).append(desk)
    addresses = desk.address()
    return _desk_of, (_share.Arena(addresses[0][0]), [address[1:] for address in addresses])


ForkingPickler.register(_ginnel.Desk, _reduce_desk)
