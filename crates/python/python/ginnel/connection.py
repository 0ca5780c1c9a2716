"""Connections: the two ends of a pipe in shared memory.

Ours: ``Pipe``, the class of its ends and ``wait``. The standard library's: everything else, ``Listener`` and ``Client``
among it, whose connections lead to other machines, and the class ``Connection`` itself, which ours is a subclass of.
"""

import io
import math
import select
import time

from multiprocessing import connection as _stock
from multiprocessing import context
from multiprocessing.connection import Client, Connection, Listener  # noqa: F401

from . import _ginnel, _share
from .aio import AsyncConnection

__all__ = ['Client', 'Listener', 'Pipe', 'wait']

# The longest sleep in a wait: after it we ask whether those live whom it waits for.
_SLICE = 0.05

_READABLE = select.POLLIN | select.POLLPRI


def __getattr__(name):
    # Whatever else the standard library's module has.
    return getattr(_stock, name)


class RingConnection(_ginnel.Connection, AsyncConnection, _stock.Connection):
    """One end of a pipe.

    As ``multiprocessing.Connection``, with these differences: a message is sent and received whole, by any number of
    threads and processes at one end; and an end may be sent through queues and connections as well.

    When the last process that has the other end closes it or dies, ``recv`` raises ``EOFError`` after what was sent
    before, and ``send`` raises ``BrokenPipeError``. A process that is killed in the middle of a call has sent or
    received the message or it has not.
    """

    def __init__(self, ends):
        """Of what ``_ginnel.pipe`` or ``_ginnel.Ends.arrive`` gave."""

    def __del__(self):
        """The native object closes itself."""

    @property
    def _handle(self):
        return None if self.closed else self.fileno()

    def _check_closed(self):
        if self.closed:
            raise OSError('handle is closed')

    @property
    def _readable(self):
        return self.readable

    @property
    def _writable(self):
        return self.writable

    def _close(self):
        self.close()

    def _poll(self, timeout):
        return self.poll(timeout)

    def _send_bytes(self, buf):
        self.send_bytes(buf)

    def _recv_bytes(self, maxsize=None):
        message = io.BytesIO()
        message.write(self.recv_bytes(maxsize))
        return message

    def __reduce__(self):
        popen = context.get_spawning_popen()
        arena, *ways = self._depart(popen is None)
        tokens = [way for way in ways if isinstance(way, bytes)]
        if tokens:
            if popen is not None:
                vars(popen).setdefault('_ginnel_kept', []).append(_Passage(arena, tokens))
            arena = _share.Arena(arena)
        return _arrive, (type(self), arena, *ways)


class _Passage:
    """Ends on their way into a process that is being started. What has not arrived by its end is given back."""

    def __init__(self, arena, tokens):
        self._arena = arena
        self._tokens = tokens

    def __del__(self, _discard=_ginnel.discard):
        for token in self._tokens:
            _discard(self._arena, token)


def _arrive(cls, arena, read, write):
    return cls(_ginnel.Ends.arrive(arena, read, write))


def Pipe(duplex=True):
    """The two ends of a new pipe. Both send and receive if ``duplex``, else the first receives and the second sends."""
    first, second = _ginnel.pipe(duplex)
    return RingConnection(first), RingConnection(second)


def wait(object_list, timeout=None):
    """Those of ``object_list`` that can be received from; waits for one, up to ``timeout`` seconds.

    Takes our connections and queues, and whatever has a descriptor or is one: sockets, sentinels of processes, the
    standard library's connections. A sending end counts as ready when there is room.
    """
    objects = list(object_list)
    poller = select.poll()
    ours, others = [], {}
    for each in objects:
        if hasattr(type(each), '_arm'):
            ours.append(each)
        else:
            fd = each if isinstance(each, int) else each.fileno()
            others[fd] = each
            poller.register(fd, _READABLE)
    deadline = None if timeout is None else time.monotonic() + timeout
    events = poller.poll(0) if others else ()
    while True:
        found = {id(others[fd]) for fd, _ in events if fd in others}
        found.update(id(each) for each in ours if each._ready())
        if found:
            return [each for each in objects if id(each) in found]
        left = _SLICE if deadline is None else min(_SLICE, deadline - time.monotonic())
        if left <= 0:
            return []
        if not ours:
            left = None if deadline is None else deadline - time.monotonic()
        for each in ours:
            poller.register(each._arm(), select.POLLIN)
        # Rounded up: a wait must not end before its time.
        events = poller.poll(None if left is None else math.ceil(left * 1000))
        if not events:
            for each in ours:
                each._probe()
