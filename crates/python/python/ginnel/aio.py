"""The asyncio forms: what the classes of this package offer to coroutines.

All of it is ours; nothing here imports asyncio before a coroutine runs. Each form tries, and where it cannot go on it
waits for the object's descriptor in the running loop, without a thread. What is received or acquired is so in the same
step in which the coroutine goes on: one that is cancelled has taken nothing.

The loop looks at a descriptor as often as the object's own waits do; a killed process is noticed within a tenth of a
second, as elsewhere.
"""

import time

_NOTHING = object()

# After this long without a byte we ask whether those live whom we wait for.
_SLICE = 0.05

# How soon to look again where nobody is bound to tell.
_NAP = 0.001

# loop -> {descriptor: futures of those who wait for it there}
_watched = None


def _waiting(loop):
    global _watched
    if _watched is None:
        import weakref
        _watched = weakref.WeakKeyDictionary()
    waiting = _watched.get(loop)
    if waiting is None:
        waiting = _watched[loop] = {}
    return waiting


def _wake(future):
    if not future.done():
        future.set_result(None)


def _readable(loop, fd, futures):
    # Level-triggered: it would call again and again until somebody has looked.
    _leave(loop, fd, futures)
    for future in futures:
        _wake(future)


def _leave(loop, fd, futures):
    waiting = _waiting(loop)
    if waiting.get(fd) is futures:
        del waiting[fd]
        loop.remove_reader(fd)


async def _sleep(fd, seconds):
    """Until ``fd`` is readable, or for that long. Several may wait for one descriptor."""
    import asyncio
    loop = asyncio.get_running_loop()
    waiting = _waiting(loop)
    futures = waiting.get(fd)
    if futures is None:
        futures = waiting[fd] = set()
        loop.add_reader(fd, _readable, loop, fd, futures)
    future = loop.create_future()
    futures.add(future)
    timer = loop.call_later(seconds, _wake, future)
    try:
        await future
    finally:
        timer.cancel()
        futures.discard(future)
        if not futures:
            _leave(loop, fd, futures)


async def _until(attempt, arm, probe, timeout=None):
    """What ``attempt`` gives, as soon as it gives something but ``_NOTHING``; that, if nothing came in time."""
    found = attempt()
    if found is not _NOTHING:
        return found
    deadline = None if timeout is None else time.monotonic() + timeout
    while True:
        left = _SLICE if deadline is None else min(_SLICE, deadline - time.monotonic())
        if left <= 0:
            return _NOTHING
        before = time.monotonic()
        if (fd := arm()) is None:
            import asyncio
            await asyncio.sleep(min(left, _NAP))
        else:
            await _sleep(fd, left)
        found = attempt()
        if found is not _NOTHING:
            return found
        if time.monotonic() - before >= _SLICE:
            probe()


def _steps(of):
    """How to arm ``of`` and to ask for those it waits for. Without a descriptor it is looked at each millisecond."""
    return getattr(of, '_arm', _nobody), getattr(of, '_probe', _nobody)


def _nobody():
    return None


class AsyncConnection:
    """The asyncio forms of a connection."""

    async def arecv(self):
        """The next object; waits for it. ``EOFError`` when nothing can come any more."""
        return await _until(lambda: self._try_recv(_NOTHING), self._arm, self._probe)

    async def arecv_bytes(self):
        """The next message as bytes; waits for it."""
        return await _until(lambda: self._try_recv_bytes(_NOTHING), self._arm, self._probe)

    async def asend(self, obj):
        """Sends an object; waits while there is no room. One that is cancelled has not sent."""
        await _until(lambda: None if self._try_send(obj) else _NOTHING, self._room_fd, self._probe)

    async def asend_bytes(self, buf):
        """Sends bytes; waits while there is no room. One that is cancelled has not sent."""
        await _until(lambda: None if self._try_send_bytes(buf) else _NOTHING, self._room_fd, self._probe)

    def _room_fd(self):
        # With room for a message, but not for one of that size, there is nobody to tell when.
        return None if self._room() else self._arm_room()

    def __aiter__(self):
        """Objects until the other end is closed."""
        return self

    async def __anext__(self):
        try:
            return await self.arecv()
        except EOFError:
            raise StopAsyncIteration from None


class AsyncQueue:
    """The asyncio forms of a queue."""

    async def aget(self, timeout=None):
        """The next object; waits for it, up to ``timeout`` seconds (``queue.Empty``)."""
        from queue import Empty

        def attempt():
            try:
                return self.get(False)
            except Empty:
                return _NOTHING
        found = await _until(attempt, *_steps(self), timeout)
        if found is _NOTHING:
            raise Empty
        return found

    async def aput(self, obj, timeout=None):
        """Puts an object; waits while the queue is full, up to ``timeout`` seconds (``queue.Full``)."""
        from queue import Full

        def attempt():
            try:
                return self.put(obj, False)
            except Full:
                return _NOTHING
        arm = getattr(self, '_arm_room', _nobody)
        if await _until(attempt, arm, _steps(self)[1], timeout) is _NOTHING:
            raise Full

    def __aiter__(self):
        """Objects without end: a queue has none."""
        return self

    async def __anext__(self):
        return await self.aget()


class AsyncLock:
    """The asyncio forms of a lock or semaphore. A lock that knows its holder by the thread knows no coroutines."""

    async def aacquire(self, timeout=None):
        """Acquires it; true, or false if it was not free within ``timeout`` seconds."""
        return await _until(lambda: self.acquire(False) or _NOTHING, *_steps(self), timeout) is True

    async def __aenter__(self):
        await self.aacquire()
        return self

    async def __aexit__(self, *why):
        self.release()
