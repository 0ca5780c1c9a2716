"""Contexts: what makes objects for a start method.

Ours are the factories; everything else (processes, start methods, loggers, the exceptions) is the standard library's,
which the contexts here are subclasses of. Where this package has no module of that name the factory makes the
standard library's object (``_reuse``).

The start method is one for both packages: a child that was started with *spawn* or *forkserver* is told it by the
standard library, in the standard library's default context. So ours keeps none; it asks there.
"""

from multiprocessing import context as _stock
from multiprocessing.context import (
    AuthenticationError, BaseContext, BufferTooShort, ForkProcess, ForkServerProcess, Process, ProcessError,
    SpawnProcess, TimeoutError, assert_spawning, get_spawning_popen, set_spawning_popen)

__all__ = ()


class _Factories:
    """The objects of this package, under the names and signatures of ``BaseContext``."""

    def Manager(self):
        """A started manager: what makes and keeps objects that any process can be sent."""
        from .managers import SyncManager
        manager = SyncManager(ctx=self.get_context())
        manager.start()
        return manager

    def Pipe(self, duplex=True):
        """The two ends of a connection; both send and receive if ``duplex``, else the first one only receives."""
        from .connection import Pipe
        return Pipe(duplex)

    def Lock(self):
        """A lock. When the process that holds it dies, the next one gets it."""
        from .synchronize import Lock
        return Lock(ctx=self.get_context())

    def RLock(self):
        """A lock that its holder may acquire again."""
        from .synchronize import RLock
        return RLock(ctx=self.get_context())

    def Condition(self, lock=None):
        """A condition variable on ``lock`` (by default an ``RLock`` of its own)."""
        from .synchronize import Condition
        return Condition(lock, ctx=self.get_context())

    def Semaphore(self, value=1):
        """A semaphore with ``value`` permits."""
        from .synchronize import Semaphore
        return Semaphore(value, ctx=self.get_context())

    def BoundedSemaphore(self, value=1):
        """A semaphore that raises ``ValueError`` when more is released than was acquired."""
        from .synchronize import BoundedSemaphore
        return BoundedSemaphore(value, ctx=self.get_context())

    def Event(self):
        """A flag that processes can wait for."""
        from .synchronize import Event
        return Event(ctx=self.get_context())

    def Barrier(self, parties, action=None, timeout=None):
        """Holds ``parties`` waiters back until all are there."""
        from .synchronize import Barrier
        return Barrier(parties, action, timeout, ctx=self.get_context())

    def Queue(self, maxsize=0):
        """A queue of ``maxsize`` objects, or (0) of as many as there is memory for."""
        from .queues import Queue
        return Queue(maxsize, ctx=self.get_context())

    def JoinableQueue(self, maxsize=0):
        """A queue that can be waited for until everything in it has been dealt with."""
        from .queues import JoinableQueue
        return JoinableQueue(maxsize, ctx=self.get_context())

    def SimpleQueue(self):
        """A queue with put, get and empty."""
        from .queues import SimpleQueue
        return SimpleQueue(ctx=self.get_context())

    def Pool(self, processes=None, initializer=None, initargs=(), maxtasksperchild=None, **options):
        """A pool of worker processes; ``on_worker_death`` is ours: what becomes of a dead worker's task."""
        from .pool import Pool
        return Pool(processes, initializer, initargs, maxtasksperchild, context=self.get_context(), **options)

    def RawValue(self, typecode_or_type, *args):
        """A ctypes object in shared memory, without a lock."""
        from .sharedctypes import RawValue
        return RawValue(typecode_or_type, *args)

    def RawArray(self, typecode_or_type, size_or_initializer):
        """A ctypes array in shared memory, without a lock."""
        from .sharedctypes import RawArray
        return RawArray(typecode_or_type, size_or_initializer)

    def Value(self, typecode_or_type, *args, lock=True):
        """A ctypes object in shared memory, with a lock unless ``lock`` is false (or the lock to use)."""
        from .sharedctypes import Value
        return Value(typecode_or_type, *args, lock=lock, ctx=self.get_context())

    def Array(self, typecode_or_type, size_or_initializer, *, lock=True):
        """A ctypes array in shared memory, with a lock unless ``lock`` is false (or the lock to use)."""
        from .sharedctypes import Array
        return Array(typecode_or_type, size_or_initializer, lock=lock, ctx=self.get_context())

    def allow_connection_pickling(self):
        """Does nothing: connections can always be sent to a process that is being started."""
        from . import connection  # noqa: F401, its import registers what there is to register

    def get_context(self, method=None):
        """The context of a start method (without a name: this one)."""
        return self if method is None else _of(method)


class ForkContext(_Factories, _stock.ForkContext):
    """Children are forks."""


class SpawnContext(_Factories, _stock.SpawnContext):
    """Children are new interpreters."""


class ForkServerContext(_Factories, _stock.ForkServerContext):
    """Children are forks of a server that has been started for that."""


_concrete_contexts = {context._name: context for context in (ForkContext(), SpawnContext(), ForkServerContext())}


def _of(method):
    # Its complaints (an unknown name, not available here) are the ones that programs expect.
    _stock.BaseContext().get_context(method)
    return _concrete_contexts[method]


class DefaultContext(_Factories, _stock.DefaultContext):
    """The context behind the functions of the package: that of the start method which has been set."""

    def __init__(self):
        """It has no state: that of the standard library's default context is its own."""

    @property
    def _default_context(self):
        return _concrete_contexts[_stock._default_context._default_context._name]

    @property
    def _actual_context(self):
        actual = _stock._default_context._actual_context
        return None if actual is None else _concrete_contexts[actual._name]

    @_actual_context.setter
    def _actual_context(self, context):
        _stock._default_context._actual_context = context and _stock._concrete_contexts[context._name]

    def get_context(self, method=None):
        """The context of a start method (without a name: of the one which has been set, or is set hereby)."""
        return _of(_stock._default_context.get_start_method() if method is None else method)


_default_context = DefaultContext()


def _force_start_method(method):
    _default_context._actual_context = _concrete_contexts[method]
