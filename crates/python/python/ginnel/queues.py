"""Queues in shared memory.

Ours: the data path (``_ginnel.Channel``: put, get, qsize, empty, full and their like are its methods), and what is done
with objects that have no room yet. The standard library's: the classes themselves, which these are subclasses of, and
the way in which it joins a feeder thread when a process ends.
"""

import collections
import os
import threading
import weakref

from multiprocessing import queues, util
from queue import Empty, Full

from . import _ginnel, _share
from .aio import AsyncQueue

__all__ = ['Queue', 'SimpleQueue', 'JoinableQueue', 'Empty', 'Full']

# Messages of an unbounded queue that lie in shared memory; more wait in the process that puts them.
_ROOM = 16384

# What a queue without a limit says its limit is.
_NO_LIMIT = 2**31 - 1


class _End:
    """One end of a queue, for libraries that know what the standard library's queues are made of.

    It refers to its queue weakly: the queue has it.
    """

    def __init__(self, queue):
        self._ref = weakref.ref(queue)
        self.closed = False

    @property
    def _queue(self):
        queue = self._ref()
        if self.closed or queue is None:
            raise OSError('handle is closed')
        return queue

    def close(self):
        self.closed = True


class _Reader(_End):
    """Where a queue is read."""

    readable, writable = True, False

    def fileno(self):
        return self._queue.fileno()

    def poll(self, timeout=0.0):
        return self._queue._wait(timeout)

    def recv(self):
        return self._queue.get()

    def _ready(self):
        return self._queue._ready()

    def _arm(self):
        return self._queue._arm()

    def _probe(self):
        return self._queue._probe()


class _Writer(_End):
    """Where a queue is written."""

    readable, writable = False, True

    def send(self, obj):
        self._queue.put(obj)


class _Backlog:
    """Messages of this process that a queue has no room for, and the thread that waits for room.

    A killed process loses them, as it loses what the standard library's feeder has not sent.
    """

    def __init__(self, queue):
        self.queue = queue
        self.messages = collections.deque()
        self.thread = threading.Thread(target=self._feed, name='QueueFeederThread', daemon=True)

    def start(self):
        self.thread.start()
        if self.queue._joincancelled:
            return None
        return util.Finalize(self.thread, queues.Queue._finalize_join, [weakref.ref(self.thread)], exitpriority=-5)

    def _feed(self):
        queue = self.queue
        while True:
            with _lock:
                if not self.messages:
                    queue._backlog = None
                    queue._is_behind = False
                    return
            try:
                queue._send(self.messages[0])
            except Exception:
                # Nobody can receive any more. The standard library's feeder ends here as well.
                util.info('a queue was closed with messages that have not been sent')
            self.messages.popleft()


def _renew_lock():
    global _lock
    _lock = threading.Lock()


# For moments only, by all backlogs of this process.
_lock = threading.Lock()
os.register_at_fork(after_in_child=_renew_lock)


class Queue(_ginnel.Channel, AsyncQueue, queues.Queue):
    """As ``multiprocessing.Queue``.

    Without ``maxsize`` a put never waits. A process that is killed has put its object or it has not, and a killed
    consumer leaves its queue usable.
    """

    def __new__(cls, maxsize=0, *, ctx=None):
        if cls is Queue and getattr(ctx, 'pickler', None) is not None:
            cls = _PickledQueue
        return super().__new__(cls)

    _joincancelled = False
    _jointhread = None
    _backlog = None
    _backlog_pid = 0

    def __init__(self, maxsize=0, *, ctx):
        self._ignore_epipe = False
        self._opid = os.getpid()
        self._ctx = ctx
        limit = maxsize if 0 < maxsize < _NO_LIMIT else 0
        self._maxsize = limit or _NO_LIMIT
        self._open(limit, _ROOM, True)

    def __getstate__(self):
        return self._ignore_epipe, self._maxsize, self._opid, _share.state_of(self, type(self).__name__)

    def __setstate__(self, state):
        self._ignore_epipe, self._maxsize, self._opid, (arena, index, generation) = state
        limit = 0 if self._maxsize == _NO_LIMIT else self._maxsize
        self._attach((arena, index, generation), limit, True)

    def get_nowait(self):
        """``get(False)``."""
        return self.get(False)

    def put_nowait(self, obj):
        """``put(obj, False)``."""
        self.put(obj, False)

    def close(self):
        """Says that this process is done with the queue."""
        self._closed = True

    def join_thread(self):
        """Waits until what this process has put is in the queue. After ``close`` only."""
        assert self._closed, f'Queue {self!r} not closed'
        join = self._jointhread
        if join and self._backlog_pid == os.getpid():
            join()

    def cancel_join_thread(self):
        """This process need not wait at its end for what it has put and nobody has room for."""
        self._joincancelled = True
        if self._jointhread:
            self._jointhread.cancel()

    def _later(self, packed):
        with _lock:
            if self._backlog is not None and self._backlog_pid == os.getpid():
                self._backlog.messages.append(packed)
                return
            # One that came through a fork is the parent's to send. It is kept: what its messages carry is not ours.
            self._backlog, self._inherited = _Backlog(self), self._backlog
            self._backlog_pid = os.getpid()
            self._backlog.messages.append(packed)
            self._is_behind = True
            self._jointhread = self._backlog.start()

    def _unsent(self, error, obj):
        try:
            raise error
        except Exception as error:
            self._on_queue_feeder_error(error, obj)

    @property
    def _buffer(self):
        backlog = self._backlog
        return backlog.messages if backlog is not None else collections.deque()

    def _poll(self, timeout=0.0):
        return self._wait(timeout)

    @property
    def _reader(self):
        return _end(self, '_reader_end', _Reader)

    @property
    def _writer(self):
        return _end(self, '_writer_end', _Writer)


class _PickledQueue(Queue):
    """A queue of a context with a ``pickler`` of its own: something with ``dumps`` and ``loads``, as ``cloudpickle``."""

    def __init__(self, maxsize=0, *, ctx):
        super().__init__(maxsize, ctx=ctx)
        self._dumps, self._loads = ctx.pickler.dumps, ctx.pickler.loads

    def __getstate__(self):
        return super().__getstate__() + (self._dumps, self._loads)

    def __setstate__(self, state):
        super().__setstate__(state[:-2])
        self._dumps, self._loads = state[-2:]

    def put(self, obj, block=True, timeout=None):
        """As ``Queue.put``, with the pickler of the context."""
        try:
            data = self._dumps(obj)
        except Exception as error:
            self._on_queue_feeder_error(error, obj)
        else:
            self.put_bytes(data, block, timeout)

    def get(self, block=True, timeout=None):
        """As ``Queue.get``, with the pickler of the context."""
        return self._loads(super().get(block, timeout))

    def put_many(self, objs, block=True, timeout=None):
        """Puts each object of ``objs``, and gives how many."""
        count = 0
        for count, obj in enumerate(objs, 1):
            self.put(obj, block, timeout)
        return count

    def get_many(self, limit=None, block=True, timeout=None):
        """Waits for one object and takes what is there, up to ``limit``."""
        return [self._loads(data) for data in super().get_many(limit, block, timeout)]


class JoinableQueue(Queue, queues.JoinableQueue):
    """As ``multiprocessing.JoinableQueue``. An object that a killed process had got is never done."""

    def __init__(self, maxsize=0, *, ctx):
        super().__init__(maxsize, ctx=ctx)
        self._unfinished_tasks = ctx.Semaphore(0)
        self._cond = ctx.Condition()

    def __getstate__(self):
        return super().__getstate__() + (self._cond, self._unfinished_tasks)

    def __setstate__(self, state):
        super().__setstate__(state[:-2])
        self._cond, self._unfinished_tasks = state[-2:]

    def put(self, obj, block=True, timeout=None):
        """Puts ``obj``, which is unfinished until ``task_done`` is called for it."""
        # Counted first: who gets it may be done with it before this returns.
        self._unfinished_tasks.release()
        try:
            super().put(obj, block, timeout)
        except BaseException:
            # It was not put. Whoever waits for the rest is told if this was the last.
            self.task_done()
            raise

    def _unsent(self, error, obj):
        # The standard library counts what its feeder could not send as well, and so never ends a join.
        self.task_done()
        super()._unsent(error, obj)


class SimpleQueue(_ginnel.Channel, AsyncQueue, queues.SimpleQueue):
    """As ``multiprocessing.SimpleQueue``, with room for thousands of messages; then ``put`` waits."""

    def __init__(self, *, ctx):
        self._open(0, _ROOM, False)

    def __getstate__(self):
        return _share.state_of(self, type(self).__name__)

    def __setstate__(self, state):
        self._attach(state, 0, False)

    def close(self):
        """Says that this process is done with the queue."""
        self._closed = True
        self._reader.close()
        self._writer.close()

    def _poll(self, timeout=0.0):
        return self._wait(timeout)

    @property
    def _reader(self):
        return _end(self, '_reader_end', _Reader)

    @property
    def _writer(self):
        return _end(self, '_writer_end', _Writer)


def _end(queue, name, make):
    ends = vars(queue)
    if name not in ends:
        ends[name] = make(queue)
    return ends[name]
