"""How outcomes find the results of a pool that wait for them."""

import collections
import os
import threading
import time

from multiprocessing import util
from multiprocessing.context import ProcessError
from multiprocessing.pool import RUN, TERMINATE

from ._pool_results import left_until, release
from ._pool_tasks import DIED, FAILED, PAUSE, TOLD, VALUE, WAKE, WorkerDied, rebuilt, unreadable


class Bell:
    """Wakes the thread that watches over the workers."""

    def __init__(self):
        self._fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)

    def fileno(self):
        return self._fd

    def put(self, _=None):
        if self._fd >= 0:
            os.eventfd_write(self._fd, 1)

    def settle(self):
        try:
            os.eventfd_read(self._fd)
        except BlockingIOError:
            pass

    def close(self):
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    __del__ = close


class Mail:
    """Brings outcomes to the results that wait for them.

    One thread receives for all (``Desk.lead``); the others have a baton each, which is released when their result is
    there or when nobody leads. Where an exception comes in between (Ctrl-C), an outcome is dealt with once more, so
    that all steps can be taken twice; a baton that was not passed on is missed for ``PAUSE`` at most.
    """

    def __init__(self, desk, bell):
        self.desk = desk
        self.bell = bell
        self.cache = {}
        self.batons = []
        self.state = RUN
        self.out = 0
        self.thread = None
        self._waiting = collections.deque()
        # Workers that died, by the task that they were at, or (most of them were idle) at none.
        self._deaths = {}
        self._idle_deaths = collections.deque(maxlen=16)
        # Tasks that are given up before it is known who died, and the question that will be answered then.
        self._lost = {}
        self.questions = 0

    def look(self):
        """Takes in what is there."""
        if self.thread is None and self.desk.lead(self._deal_with, None, 0.0) is not None:
            self._pass_on()

    def attend(self, awaited, timeout):
        """Waits until ``awaited`` is there, up to ``timeout`` seconds. Is it?"""
        end = None if timeout is None else time.monotonic() + timeout
        left = timeout
        while not awaited.is_there():
            found = None
            if self.thread is None or awaited is self:
                found = self.desk.lead(self._deal_with, awaited.is_there, left)
            if found is not None:
                self._pass_on()
                return found
            self._follow(awaited, left)
            left = left_until(end)
            if left is not None and left <= 0:
                return awaited.is_there()
        return True

    def _pass_on(self):
        if self._waiting and not self.desk.is_led():
            try:
                release(self._waiting[0])
            except IndexError:
                pass

    def _follow(self, awaited, left):
        baton = threading.Lock()
        baton.acquire()
        awaited.batons.append(baton)
        self._waiting.append(baton)
        try:
            is_led = self.desk.is_led() or (self.thread is not None and awaited is not self)
            if is_led and not awaited.is_there():
                baton.acquire(timeout=PAUSE if left is None else min(max(left, 0), PAUSE))
        finally:
            awaited.batons.remove(baton)
            self._waiting.remove(baton)
            self._pass_on()

    def _deal_with(self, job, index, kind, is_whole, value):
        if kind == VALUE and is_whole:
            self.out -= 1
            self.settle(job, index, (True, value))
        elif kind == DIED:
            self._bury((job, index), *value)
        elif kind == TOLD:
            self._despair(value)
        elif kind != WAKE:
            self.out -= 1
            if not is_whole:
                self.settle(job, index, (False, unreadable(value)))
            elif kind == FAILED:
                self.settle(job, index, (False, rebuilt(value)))
            else:
                self._give_up((job, index))

    def _give_up(self, place):
        """No worker will do this task: the one that had it last has died."""
        if not self._is_missing(place):
            return
        death = self._deaths.pop(place, None)
        if death is not None:
            self.settle(*place, (False, WorkerDied(*death)))
        else:
            # Other workers are faster in finding that out than the thread that watches over them.
            self.questions += 1
            self._lost[place] = self.questions
            self.bell.put()

    def _bury(self, place, pid, exitcode, is_final):
        """A worker has died, at this task if there is one. Nothing more comes from it."""
        if place[0] not in self.cache:
            self._idle_deaths.append((pid, exitcode))
        elif place in self._lost or is_final:
            self._lost.pop(place, None)
            if self._is_missing(place):
                self.settle(*place, (False, WorkerDied(pid, exitcode)))
        else:
            self._deaths = {at: died for at, died in self._deaths.items() if at[0] in self.cache}
            self._deaths[place] = pid, exitcode

    def _despair(self, question):
        """All deaths have been told: who had these died before it could say what it had taken."""
        for place in [place for place, asked in self._lost.items() if asked <= question]:
            del self._lost[place]
            if self._is_missing(place):
                death = self._idle_deaths.pop() if self._idle_deaths else ()
                self.settle(*place, (False, WorkerDied(*death)))

    def _is_missing(self, place):
        awaited = self.cache.get(place[0])
        return awaited is not None and awaited.is_missing(place[1])

    def settle(self, job, index, outcome):
        """Gives an outcome to its result."""
        awaited = self.cache.get(job)
        if awaited is not None:
            awaited._set(index, outcome)
        if not self.cache and self.state != RUN:
            self.bell.put()

    def fail_all(self):
        """No outcome comes any more."""
        for awaited in list(self.cache.values()):
            awaited.give_up(ProcessError('the pool was terminated before the task was done'))
        self.cache.clear()

    def start_thread(self):
        """From now on a thread receives all outcomes."""
        if self.thread is None and self.state != TERMINATE:
            self.thread = threading.Thread(target=self._deliver_all, name='PoolResults', daemon=True)
            self.thread.start()

    def is_there(self):
        """What that thread waits for: that nothing comes any more."""
        return self.state == TERMINATE or (self.state != RUN and not self.cache)

    def _deliver_all(self):
        self.attend(self, None)
        util.debug('result handler exiting')

    def wake(self):
        """Lets the thread look whether it is still wanted."""
        # Where there is no room it is not asleep.
        self.desk.put_outcome(0, 0, WAKE, None, 0.0)
