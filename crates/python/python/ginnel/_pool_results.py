"""The results of a pool: the standard library's, which receive while somebody waits for them (``_pool_mail``).

An outcome may be dealt with twice, or be cut short by an exception in between; so every step here can be taken twice.
"""

import sys
import threading
import time

from multiprocessing import pool as stock
from multiprocessing.context import TimeoutError
from multiprocessing.pool import job_counter


def left_until(end):
    return None if end is None else end - time.monotonic()


def release(baton):
    try:
        baton.release()
    except RuntimeError:
        pass


class Arrival:
    """In the place of an event: set when the outcome is there. Asking for it brings it."""

    __slots__ = 'mail', 'batons', '_is_set'

    def __init__(self, mail):
        self.mail = mail
        self.batons = []
        self._is_set = False

    def is_there(self):
        return self._is_set

    def is_set(self):
        if not self._is_set:
            self.mail.look()
        return self._is_set

    def set(self):
        self._is_set = True
        for baton in self.batons:
            release(baton)

    def wait(self, timeout=None):
        return self._is_set or self.mail.attend(self, timeout)


def _call_back(callback, value):
    """A callback that raises is reported as a thread's end is, and harms nobody else."""
    try:
        callback(value)
    except Exception:
        threading.excepthook(threading.ExceptHookArgs((*sys.exc_info(), threading.current_thread())))


class ApplyResult(stock.ApplyResult):
    """The result of one task."""

    def __init__(self, pool, callback, error_callback):
        self._pool = pool
        self._job = next(job_counter)
        self._event = Arrival(pool._mail)
        self._cache = pool._cache
        self._callback = callback
        self._error_callback = error_callback
        self._cache[self._job] = self

    def _set(self, i, obj):
        self._success, self._value = obj
        self._finish()

    def _finish(self):
        callback = self._callback if self._success else self._error_callback
        self._callback = self._error_callback = None
        if callback:
            _call_back(callback, self._value)
        self._event.set()
        self._pool = None
        # Last: an outcome is dealt with again as long as its job is there.
        self._cache.pop(self._job, None)

    def is_missing(self, i):
        return not self._event.is_there()

    def give_up(self, error):
        self._callback = self._error_callback = None
        self._set(0, (False, error))


AsyncResult = ApplyResult


class MapResult(ApplyResult, stock.MapResult):
    """The results of a number of tasks, as one list."""

    def __init__(self, pool, chunksize, length, callback, error_callback):
        ApplyResult.__init__(self, pool, callback, error_callback)
        self._success = True
        self._value = [None] * length
        self._chunksize = chunksize
        self._missing = set(range(-(-length // chunksize) if chunksize > 0 else 0))
        if not self._missing:
            del self._cache[self._job]
            self._callback = self._error_callback = None
            self._event.set()
            self._pool = None

    def _set(self, i, obj):
        if i not in self._missing:
            return
        success, value = obj
        if not self._success:
            pass
        elif success:
            self._value[i * self._chunksize:(i + 1) * self._chunksize] = value
        else:
            # The first failure is the outcome, which is there when all tasks have ended.
            self._success, self._value = False, value
        if len(self._missing) == 1:
            self._finish()
        self._missing.discard(i)

    def is_missing(self, i):
        return i in self._missing

    def fail_rest(self, i, error):
        """The tasks from ``i`` on will not be."""
        rest = [n for n in self._missing if n >= i]
        for n in rest:
            self._set(n, (False, error))

    def give_up(self, error):
        self._callback = self._error_callback = None
        self.fail_rest(0, error)


class IMapIterator(stock.IMapIterator):
    """The results of a number of tasks, one after the other in the order of the tasks."""

    def __init__(self, pool):
        self._pool = pool
        self._mail = pool._mail
        self._job = next(job_counter)
        self._cache = pool._cache
        self._cond = threading.Lock()
        self._arrived = {}
        self._index = 0
        self._length = None
        self.batons = []
        self._cache[self._job] = self

    def is_there(self):
        return self._index in self._arrived or self._index == self._length

    def next(self, timeout=None):
        """The next result; ``TimeoutError`` if it is not there within the timeout."""
        end = None if timeout is None else time.monotonic() + timeout
        while True:
            with self._cond:
                found = self._pop()
                if found is None and self._index == self._length:
                    self._pool = None
                    raise StopIteration
            if found is not None:
                break
            if not self._mail.attend(self, left_until(end)):
                raise TimeoutError
        success, value = found
        if success:
            return value
        raise value

    __next__ = next

    def _pop(self):
        found = self._arrived.pop(self._index, None)
        if found is not None:
            self._index += 1
        return found

    def is_missing(self, i):
        return i >= self._index and i not in self._arrived

    def _set(self, i, obj):
        if self.is_missing(i):
            self._arrived[i] = obj
        self._settle()

    def _set_length(self, length):
        self._length = length
        self._settle()

    def _settle(self):
        for baton in list(self.batons):
            release(baton)
        if self._length is not None and self._index + len(self._arrived) >= self._length:
            self._pool = None
            self._cache.pop(self._job, None)

    def fail_rest(self, i, error):
        self._set(i, (False, error))
        self._set_length(i + 1)

    def give_up(self, error):
        """What has arrived can still be taken, then comes the error."""
        self._length = None
        last = self._index
        while not self.is_missing(last):
            last += 1
        self.fail_rest(last, error)


class IMapUnorderedIterator(IMapIterator):
    """The results of a number of tasks, one after the other as they come."""

    def __init__(self, pool):
        self._gone = set()
        self._all_gone = 0
        super().__init__(pool)

    def is_there(self):
        return bool(self._arrived) or self._index == self._length

    def _pop(self):
        for i in self._arrived:
            # Those below ``_all_gone`` are gone, and these.
            self._gone.add(i)
            while self._all_gone in self._gone:
                self._gone.discard(self._all_gone)
                self._all_gone += 1
            self._index += 1
            return self._arrived.pop(i)
        return None

    def is_missing(self, i):
        return i >= self._all_gone and i not in self._gone and i not in self._arrived
