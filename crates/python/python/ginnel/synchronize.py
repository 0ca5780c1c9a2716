"""``multiprocessing.synchronize``, on shared memory.

Ours: every object is native (``_ginnel``), lies in the arena of the tree of processes and needs neither a name in the
file system nor a descriptor. Reused: the standard library's classes, as bases of ours, for ``isinstance``, ``repr`` and
the rest of their behaviour; ``SemLock`` itself.

What a killed process leaves:

- A lock that it held comes free for the next, whose ``previous_owner_died`` says so.
- A count of a semaphore that it had acquired is gone, as if it still had it: nobody owns a count.
- A waiter at a condition or an event is forgotten, and a notification that had reached it is passed on.
- A party of a barrier breaks it.
"""

from multiprocessing import synchronize as _stock
from multiprocessing.synchronize import RECURSIVE_MUTEX, SEM_VALUE_MAX, SEMAPHORE, SemLock  # noqa: F401

from . import _ginnel, _share
from .aio import AsyncLock

__all__ = list(_stock.__all__)


def _rebuild(cls, address, named):
    return cls.__new__(cls, _at=address, **named)


class _Native:
    """How all of them are pickled: by their address, and with what an instance has beside."""

    def __reduce_ex__(self, protocol):
        state = _share.state_of(self, type(self).__name__)
        return _rebuild, (type(self), state, self._named()), self.__getstate__()

    def _named(self):
        """What the constructor has to be told beside the address."""
        return {}

    def __getstate__(self):
        return self.__dict__ or None

    def __setstate__(self, state):
        self.__dict__.update(state)


class _Semlock(_Native, AsyncLock):
    """Locks and semaphores: to the standard library's methods, each is its own ``_semlock``."""

    _is_fork_ctx = False

    @property
    def _semlock(self):
        return self


class Lock(_ginnel.Lock, _Semlock, _stock.Lock):
    """A lock, which any thread of any process may release. It comes free when the process that holds it dies.

    ``previous_owner_died`` is then ``(pid, name)`` for the next one that acquires it, and ``None`` otherwise.
    """

    def __init__(self, *, ctx):
        pass


class RLock(_ginnel.RLock, _Semlock, _stock.RLock):
    """A lock that its holder may acquire again. As :class:`Lock`, but only its holder can release it."""

    def __init__(self, *, ctx):
        pass


class Semaphore(_ginnel.Semaphore, _Semlock, _stock.Semaphore):
    """A count that ``acquire`` lowers and anybody raises."""

    def __init__(self, value=1, *, ctx):
        pass

    def _named(self):
        return {'maxvalue': self.maxvalue}


class BoundedSemaphore(Semaphore, _stock.BoundedSemaphore):
    """A semaphore that raises ``ValueError`` when more is released than was acquired."""

    def __new__(cls, value=1, *, maxvalue=None, ctx=None, _at=None):
        return Semaphore.__new__(cls, value, maxvalue=value if maxvalue is None else maxvalue, _at=_at)

    def __init__(self, value=1, *, ctx):
        pass


class _Reading:
    """A number that can be read where the standard library has a semaphore."""

    def __init__(self, value):
        self._value = value

    def get_value(self):
        return self._value


class Condition(_ginnel.Condition, _Native, _stock.Condition):
    """A condition variable on a lock of any kind. Notifying waits for nobody, dead or alive.

    ``notify(n)`` lets exactly ``n`` of those go on who wait, or all if they are fewer, those first who came first. One
    that is killed before it goes on leaves the notification to another. At most 992 threads wait at a time.
    """

    def __init__(self, lock=None, *, ctx):
        self._lock = lock or ctx.RLock()
        self._make_methods()

    def __getstate__(self):
        return {'_lock': self._lock}

    def __setstate__(self, state):
        super().__setstate__(state)
        self._make_methods()

    def __repr__(self):
        return f'<{type(self).__name__}({self._lock}, {self._waiting()})>'

    def wait(self, timeout=None):
        """Releases the lock, waits to be notified, and acquires it again. False: ``timeout`` seconds were over before."""
        lock = self._lock._semlock
        assert lock._is_mine(), 'must acquire() condition before using wait()'
        return self._wait(lock, timeout)

    def notify(self, n=1):
        """Lets ``n`` waiters go on."""
        assert self._lock._semlock._is_mine(), 'lock is not owned'
        self._notify(n)

    def notify_all(self):
        """Lets all waiters go on."""
        self.notify(SEM_VALUE_MAX * 2 + 1)

    # What programs look at that know the standard library from inside.
    @property
    def _sleeping_count(self):
        return _Reading(self._waiting())

    @property
    def _woken_count(self):
        return _Reading(0)

    _wait_semaphore = _woken_count


class Event(_ginnel.Event, _Native, _stock.Event):
    """A flag that processes wait for. All who wait when it is set go on, even if it is cleared at once."""

    def __init__(self, *, ctx):
        pass


class Barrier(_ginnel.Barrier, _Native, _stock.Barrier):
    """Where ``parties`` wait for each other. One that dies there, or whose wait ends with an exception, breaks it."""

    def __init__(self, parties, action=None, timeout=None, *, ctx):
        self._action = action
        self._timeout = timeout

    def wait(self, timeout=None):
        """Waits for all parties; gives each a different number below theirs.

        ``threading.BrokenBarrierError`` when one is killed, or has waited for ``timeout`` seconds, or called ``abort``.
        """
        return self._wait(self._action, self._timeout if timeout is None else timeout)
