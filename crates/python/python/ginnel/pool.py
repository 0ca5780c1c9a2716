"""Pools of worker processes.

The standard library's are the interface (``Pool`` and its results are subclasses of its classes), ``ThreadPool``, and
how an exception carries the traceback of its worker. Ours is how tasks and outcomes travel:

- A task goes into shared memory from the thread that submits it, and a worker *leases* it from there. A worker that
  dies leaves its task to the next worker, which is told that it comes again (``on_worker_death``): ``_pool_tasks``.
- Outcomes are received by a thread that waits for one, for itself and for the others (``_pool_mail``). A thread of the
  pool's own does that where nobody else would in time: for callbacks, and when many outcomes pile up.
- One thread watches over the workers (``_pool_staff``): it replaces those that have ended, and says what they were at.

A killed worker costs the task that it was at, or nothing; a killed parent ends its workers.
"""

import itertools
import os
import threading
import warnings

from multiprocessing import pool as _stock
from multiprocessing import util
from multiprocessing.context import TimeoutError  # noqa: F401
from multiprocessing.pool import (  # noqa: F401, what programs and libraries find in the module
    CLOSE, INIT, RUN, TERMINATE, ExceptionWithTraceback, MaybeEncodingError, RemoteTraceback, ThreadPool,
    job_counter, mapstar, rebuild_exc, starmapstar)

from . import _ginnel
from ._pool_mail import Bell, Mail
from ._pool_results import (  # noqa: F401
    ApplyResult, AsyncResult, IMapIterator, IMapUnorderedIterator, MapResult)
from ._pool_staff import Feeder, Staff, submit
from ._pool_tasks import CALL, MAP, STARMAP, WorkerDied, calls, chunks, name_of, worker  # noqa: F401

__all__ = ['Pool', 'ThreadPool']

# Tasks that may be out before a thread of the pool's own takes in what comes back.
_UNATTENDED = 2048

# How often a task whose worker has died goes to another one with on_worker_death='retry'.
_RETRIES = 3


class Pool(_stock.Pool):
    """Worker processes that calls can be given to.

    ``on_worker_death`` says what becomes of the task of a worker that dies: ``'report'`` lets its result raise
    ``WorkerDied``, ``'retry'`` gives it to another worker, up to three times (or as often as the number that stands
    there says), so that it may run more than once. The dead worker is replaced either way.

    After ``terminate`` the results that are missing raise ``ProcessError`` (the standard library's wait for ever).
    """

    def __init__(self, processes=None, initializer=None, initargs=(), maxtasksperchild=None, context=None, *,
                 on_worker_death='report'):
        self._pool = []
        self._state = INIT
        retries = {'report': 0, 'retry': _RETRIES}.get(on_worker_death, on_worker_death)
        if not isinstance(retries, int) or retries < 0:
            raise ValueError("on_worker_death is 'report', 'retry' or a number of retries")
        if processes is None:
            processes = getattr(os, 'process_cpu_count', os.cpu_count)() or 1
        if processes < 1:
            raise ValueError('Number of processes must be at least 1')
        if maxtasksperchild is not None and (not isinstance(maxtasksperchild, int) or maxtasksperchild <= 0):
            raise ValueError('maxtasksperchild must be a positive int or None')
        if initializer is not None and not callable(initializer):
            raise TypeError('initializer must be a callable')
        if context is None:
            from .context import _default_context
            context = _default_context.get_context()
        self._ctx = context
        self._processes = processes
        self._initializer = initializer
        self._initargs = initargs
        self._maxtasksperchild = maxtasksperchild
        self._change_notifier = Bell()
        self._mail = Mail(_ginnel.Desk(processes), self._change_notifier)
        self._cache = self._mail.cache
        self._feeder = Feeder(self._mail)
        options = initializer, initargs, maxtasksperchild, self._wrap_exception, retries
        self._staff = Staff(self._mail, context, self.Process, processes, retries == 0, options)
        self._pool = self._staff.workers
        self._begin()

    def _begin(self):
        try:
            self._staff.fill()
        except Exception:
            for one in self._pool:
                if one.exitcode is None:
                    one.terminate()
            for one in self._pool:
                one.join()
            raise
        self._worker_handler = threading.Thread(target=self._staff.watch, name='PoolWorkers', daemon=True)
        self._worker_handler.start()
        self._terminate = util.Finalize(
            self, _end, args=(self._mail, self._staff, self._feeder, self._worker_handler), exitpriority=15)
        self._state = RUN

    def _repopulate_pool(self):
        self._staff.clear()
        self._staff.fill()

    @property
    def _task_handler(self):
        return self._feeder.thread

    @property
    def _result_handler(self):
        return self._mail.thread

    def _hand_in(self, awaited, tasks, is_at_once=True):
        """Submits from this thread as far as there is room, and otherwise in the background."""
        mail = self._mail
        if mail.out > _UNATTENDED:
            mail.start_thread()
        if is_at_once and not self._feeder.is_busy():
            left = submit(mail, awaited, tasks, mail.desk.put_task)
            if left is None:
                return
            tasks = itertools.chain((left,), tasks)
        mail.start_thread()
        self._feeder.put(awaited, tasks)

    def apply(self, func, args=(), kwds={}):
        """Calls ``func(*args, **kwds)`` in a worker, and gives what it gives."""
        return self.apply_async(func, args, kwds).get()

    def apply_async(self, func, args=(), kwds={}, callback=None, error_callback=None):
        """As ``apply``, but gives a result that can be waited for."""
        self._check_running()
        result = ApplyResult(self, callback, error_callback)
        if callback or error_callback:
            self._mail.start_thread()
        self._hand_in(result, iter([(0, (CALL, *name_of(func), args, kwds))]))
        return result

    def _map_async(self, func, iterable, mapper, chunksize=None, callback=None, error_callback=None):
        self._check_running()
        if not hasattr(iterable, '__len__'):
            iterable = list(iterable)
        length = len(iterable)
        if chunksize is None:
            # Four for each worker.
            chunksize = -(-length // (len(self._pool) * 4)) if self._pool else length
        if length == 0:
            chunksize = 0
        result = MapResult(self, chunksize, length, callback, error_callback)
        if length == 0:
            return result
        if callback or error_callback:
            self._mail.start_thread()
        what = MAP if mapper is mapstar else STARMAP
        self._hand_in(result, chunks(what, func, iterable, chunksize))
        return result

    def imap(self, func, iterable, chunksize=1):
        """The results of ``func`` for each item, in order, as they come."""
        return self._imap(IMapIterator, func, iterable, chunksize)

    def imap_unordered(self, func, iterable, chunksize=1):
        """The results of ``func`` for each item, in the order in which they come."""
        return self._imap(IMapUnorderedIterator, func, iterable, chunksize)

    def _imap(self, kind, func, iterable, chunksize):
        self._check_running()
        if chunksize < 1:
            raise ValueError(f'Chunksize must be 1+, not {chunksize!r}')
        result = kind(self)
        tasks = calls(func, iterable) if chunksize == 1 else chunks(MAP, func, iterable, chunksize)
        # Others may take their time to give an item, which is not the caller's.
        is_at_once = type(iterable) in (list, tuple, range) and len(iterable) <= _UNATTENDED
        self._hand_in(result, tasks, is_at_once)
        if chunksize == 1:
            return result
        return (item for chunk in result for item in chunk)

    def close(self):
        """No more tasks; the workers end when all are done."""
        util.debug('closing pool')
        if self._state == RUN:
            self._state = CLOSE
            mail = self._mail
            mail.state = CLOSE
            if mail.cache:
                mail.start_thread()
            if mail.thread is not None:
                mail.wake()
            self._change_notifier.put(None)

    def join(self):
        """Waits until the workers have ended, after ``close`` or ``terminate``."""
        util.debug('joining pool')
        if self._state == RUN:
            raise ValueError('Pool is still running')
        if self._state not in (CLOSE, TERMINATE):
            raise ValueError('In unknown state')
        self._worker_handler.join()
        self._feeder.stop()
        for thread in (self._feeder.thread, self._mail.thread):
            if thread is not None:
                thread.join()
        for one in list(self._pool):
            one.join()

    def __del__(self, _warn=warnings.warn, RUN=RUN):
        if self._state == RUN:
            _warn(f'unclosed running multiprocessing pool {self!r}', ResourceWarning, source=self)


def _end(mail, staff, feeder, watcher):
    """Ends a pool at once. The workers' tasks end with them."""
    mail.state = TERMINATE
    mail.bell.put()
    feeder.stop()
    me = threading.current_thread()
    if me is not watcher:
        # Before the workers, which it would replace.
        watcher.join()
    for one in staff.workers:
        if one.exitcode is None:
            one.terminate()
    mail.wake()
    for thread in (feeder.thread, mail.thread):
        if thread is not None and thread is not me:
            thread.join()
    for one in staff.workers:
        if one.is_alive():
            util.debug('cleaning up worker %d', one.pid)
            one.join()
    mail.fail_all()
    # Whoever leads looks at what it waits for.
    mail.wake()
