"""Managers whose objects are in shared memory.

``SyncManager`` starts no process: its dicts, lists, namespaces, values, arrays, locks and queues lie in the
arena that all processes of a tree share. Types that a program registers itself, and ``Pool``, live where the
standard library has them, in a server process. Everything else here is the standard library's.

What a killed process leaves: nothing that anybody waits for. Each single operation on a dict or a list has
happened or has not.
"""

import multiprocessing.managers as _stock
import threading
import weakref
from multiprocessing import util as _util
from multiprocessing.managers import (  # noqa: F401, what is not ours is found here, too
    AcquirerProxy, Array, AutoProxy, BaseListProxy, BaseManager, BasePoolProxy, BaseProxy, IteratorProxy,
    MakeProxyType, Namespace, PoolProxy, ProcessError, ProcessLocalSet, RebuildProxy, RemoteError, Server,
    SharedMemoryServer, State, Token, Value, all_methods, convert_to_error, dispatch, public_methods)

from . import _containers, _proxies, shared_memory
from ._containers import ArrayProxy, DictProxy, ListProxy, NamespaceProxy, SharedDict, SharedList, ValueProxy
from ._proxies import BarrierProxy, ConditionProxy, EventProxy

__all__ = [*_stock.__all__, 'SharedDict', 'SharedList']


def __getattr__(name):
    """Whatever is not ours is the standard library's."""
    return getattr(_stock, name)


# Types of ours, and whether they are made for a context.
_OURS = {
    'dict': (DictProxy, False),
    'list': (ListProxy, False),
    'Namespace': (NamespaceProxy, False),
    'Value': (ValueProxy, False),
    'Array': (ArrayProxy, False),
    'Lock': (_proxies.LockProxy, True),
    'RLock': (_proxies.RLockProxy, True),
    'Semaphore': (_proxies.SemaphoreProxy, True),
    'BoundedSemaphore': (_proxies.BoundedSemaphoreProxy, True),
    'Condition': (ConditionProxy, True),
    'Event': (EventProxy, True),
    'Barrier': (BarrierProxy, True),
    'Queue': (_proxies.QueueProxy, True),
    'JoinableQueue': (_proxies.QueueProxy, True),
}


def _factory(typeid):
    cls, wants_context = _OURS[typeid]
    of_stock = getattr(_stock.SyncManager, typeid)

    def make(self, /, *args, **kwds):
        if not self._is_ours:
            return of_stock(self, *args, **kwds)
        self._check_started()
        made = cls(*args, **kwds, ctx=self._ctx) if wants_context else cls(*args, **kwds)
        self._made.add(made)
        return made

    make.__name__ = make.__qualname__ = typeid
    make.__doc__ = cls.__doc__
    return make


class SyncManager(_stock.SyncManager):
    """As ``multiprocessing.managers.SyncManager``, whose objects are in shared memory.

    With an address, an initializer, or types that a subclass has registered there is a server process at
    once; else when something needs one (``Pool``, ``address``). A manager that connects to another one's
    server uses that for all.

    An object lives as long as a process or a container has it; after ``shutdown`` this process's are unusable
    (``ConnectionRefusedError``).
    """

    def __init__(self, *args, **kwds):
        super().__init__(*args, **kwds)
        self._is_ours = False
        self._process = None
        self._made = weakref.WeakSet()
        self._serving = threading.RLock()

    def start(self, initializer=None, initargs=()):
        """Starts it: no process, unless one is needed."""
        registered = self._registry.keys() - _stock.SyncManager._registry.keys()
        changed = [name for name in _OURS if self._registry[name] is not _stock.SyncManager._registry[name]]
        needs_server = initializer is not None or self._address is not None or registered or changed
        if needs_server or self._state.value != State.INITIAL:
            super().start(initializer, initargs)
        self._is_ours = True
        self._state.value = State.STARTED
        self._finish_with(vars(self).get('shutdown'))

    def _finish_with(self, stop):
        """Makes ``shutdown`` what ends this manager: ``stop``, if anything, ends its server."""
        self.shutdown = _util.Finalize(self, _shut_down, args=(self._state, self._made, stop), exitpriority=0)

    def _serve(self):
        """Starts the server, if there is none."""
        with self._serving:
            if self._process is not None or not self._is_ours:
                return
            self._check_started()
            self.shutdown.cancel()
            self._state.value = State.INITIAL
            try:
                super().start()
            finally:
                self._state.value = State.STARTED
                self._finish_with(vars(self)['shutdown'])

    def _check_started(self):
        assert self._state.value == State.STARTED, 'server not yet started'

    def _create(self, typeid, /, *args, **kwds):
        self._serve()
        return super()._create(typeid, *args, **kwds)

    @property
    def address(self):
        """Where the server listens; it is started for that."""
        if self._is_ours and self._state.value == State.STARTED:
            self._serve()
        return self._address

    def _debug_info(self):
        return super()._debug_info() if self._process is not None or not self._is_ours else ''

    def _number_of_objects(self):
        return super()._number_of_objects() if self._process is not None or not self._is_ours else 0


for _typeid in _OURS:
    setattr(SyncManager, _typeid, _factory(_typeid))
del _typeid


class SharedMemoryManager(_stock.SharedMemoryManager):
    """As ``multiprocessing.managers.SharedMemoryManager``: its server destroys what was made with it."""

    def SharedMemory(self, size):
        """A block of ``size`` bytes that is destroyed when the manager shuts down."""
        block = shared_memory.SharedMemory(create=True, size=size)
        self._track(block)
        return block

    def ShareableList(self, sequence):
        """A list of these elements that is destroyed when the manager shuts down."""
        made = shared_memory.ShareableList(sequence)
        self._track(made.shm)
        return made

    def _track(self, block):
        try:
            with self._Client(self._address, authkey=self._authkey) as connection:
                _stock.dispatch(connection, None, 'track_segment', (block.name,))
        except BaseException:
            block.unlink()
            raise


def _shut_down(state, made, stop):
    """Ends a manager; what it made is unusable in this process from now on."""
    for proxy in list(made):
        proxy._close()
    if stop is not None:
        stop()
    state.value = State.SHUTDOWN
