"""What a manager makes besides containers: locks, events, barriers and queues, with the manners of
``threading`` and ``queue``, which a manager's have in the standard library.

Each is one of this package's own objects with a proxy type of the standard library around it. Unlike those
objects it may travel to any process of the tree, in any way.
"""

import io

from multiprocessing import managers as _stock
from multiprocessing import reduction, resource_sharer
from multiprocessing.context import get_spawning_popen, set_spawning_popen
from pickle import loads

from . import synchronize
from ._containers import Proxy, _sent


class _Kept:
    """What was pickled outside of any message of ours lives as long as we do: nobody says when it arrives."""

    @staticmethod
    def append(native):
        _sent[id(native)] = native


class _Anywhere:
    """Stands in for the popen of a process that is being started: what may be sent to that is pickled."""

    def __init__(self):
        self._ginnel_kept = _Kept()

    @staticmethod
    def duplicate_for_child(fd):
        return fd

    @staticmethod
    def DupFd(fd):
        return resource_sharer.DupFd(fd)


def _pickled(of):
    """``of`` as bytes that any process of the tree can unpickle, once."""
    set_spawning_popen(_Anywhere())
    try:
        data = io.BytesIO()
        reduction.ForkingPickler(data).dump(of)
        return data.getvalue()
    finally:
        set_spawning_popen(None)


def _refused(*args, **kwds):
    raise ConnectionRefusedError('the manager of this object has shut down')


class _Gone:
    """What is left of an object whose manager has shut down."""

    def __getattr__(self, name):
        _refused()


def _around(cls, of):
    self = cls.__new__(cls)
    self._wrap(loads(of) if isinstance(of, bytes) else of)
    return self


class _Around(Proxy):
    """A proxy around an object of this package: ``_of``."""

    def _wrap(self, of):
        self._of = of

    def _close(self):
        self._wrap(_Gone())

    def __reduce__(self):
        return _around, (type(self), self._of if get_spawning_popen() is not None else _pickled(self._of))

    def _getvalue(self):
        return self._of


def _call(method, *args):
    """Calls a method of a lock that may be somebody else's, which ``threading`` has another exception for."""
    try:
        return method(*args)
    except (AssertionError, ValueError) as error:
        raise RuntimeError(str(error) or 'this lock is not acquired') from None


class _Acquirer(_Around, _stock.AcquirerProxy):
    def acquire(self, blocking=True, timeout=None):
        """Acquires it; False when ``timeout`` seconds (None, -1: any time) were not enough."""
        return self._of.acquire(blocking, None if timeout == -1 else timeout)

    def release(self):
        """Releases it."""
        _call(self._of.release)

    def __enter__(self):
        return self._of.acquire()

    def __exit__(self, exc_type, exc_val, exc_tb):
        self.release()


class LockProxy(_Acquirer):
    """A lock. When its holder dies, the next one gets it."""

    _typeid = 'Lock'

    def __init__(self, *, ctx):
        self._wrap(synchronize.Lock(ctx=ctx))


class RLockProxy(_Acquirer):
    """A lock that its holder may acquire again."""

    _typeid = 'RLock'

    def __init__(self, *, ctx):
        self._wrap(synchronize.RLock(ctx=ctx))


class SemaphoreProxy(_Acquirer):
    """A semaphore with ``value`` permits."""

    _typeid = 'Semaphore'

    def __init__(self, value=1, *, ctx):
        if value < 0:
            raise ValueError('semaphore initial value must be >= 0')
        self._wrap(synchronize.Semaphore(value, ctx=ctx))


class BoundedSemaphoreProxy(_Acquirer):
    """A semaphore that cannot be released more often than it was acquired."""

    _typeid = 'BoundedSemaphore'

    def __init__(self, value=1, *, ctx):
        if value < 0:
            raise ValueError('semaphore initial value must be >= 0')
        self._wrap(synchronize.BoundedSemaphore(value, ctx=ctx))

    def release(self):
        """Releases it; ``ValueError`` when all permits are there."""
        self._of.release()


class ConditionProxy(_Acquirer, _stock.ConditionProxy):
    """A condition on ``lock`` (by default an ``RLock`` of its own). A waiter that is killed keeps nobody."""

    _typeid = 'Condition'

    def __init__(self, lock=None, *, ctx):
        if isinstance(lock, _Acquirer):
            lock = lock._of
        self._wrap(synchronize.Condition(lock, ctx=ctx))

    def wait(self, timeout=None):
        return _call(self._of.wait, timeout)

    def notify(self, n=1):
        return _call(self._of.notify, n)

    def notify_all(self):
        return _call(self._of.notify_all)


class EventProxy(_Around, _stock.EventProxy):
    """A flag that processes can wait for."""

    _typeid = 'Event'

    def __init__(self, *, ctx):
        self._wrap(synchronize.Event(ctx=ctx))

    def is_set(self):
        return self._of.is_set()

    def set(self):
        return self._of.set()

    def clear(self):
        return self._of.clear()

    def wait(self, timeout=None):
        return self._of.wait(timeout)


class BarrierProxy(_Around, _stock.BarrierProxy):
    """Holds ``parties`` waiters back until all are there."""

    _typeid = 'Barrier'

    def __init__(self, parties, action=None, timeout=None, *, ctx):
        self._wrap(synchronize.Barrier(parties, action, timeout, ctx=ctx))

    def wait(self, timeout=None):
        return self._of.wait(timeout)

    def abort(self):
        self._of.abort()

    def reset(self):
        self._of.reset()

    @property
    def parties(self):
        return self._of.parties

    @property
    def n_waiting(self):
        return self._of.n_waiting

    @property
    def broken(self):
        return self._of.broken


class QueueProxy(_Around, _stock.BaseProxy):
    """A queue with the methods of ``queue.Queue``, for any number of objects (``maxsize``: so many)."""

    _typeid = 'Queue'
    _exposed_ = ('empty', 'full', 'get', 'get_nowait', 'join', 'put', 'put_nowait', 'qsize', 'task_done')

    def __init__(self, maxsize=0, *, ctx):
        from .queues import JoinableQueue
        self._wrap(JoinableQueue(maxsize, ctx=ctx))

    def _wrap(self, of):
        self._of = of
        for name in self._exposed_:
            setattr(self, name, _refused if isinstance(of, _Gone) else getattr(of, name))
