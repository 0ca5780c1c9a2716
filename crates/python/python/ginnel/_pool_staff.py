"""The threads of a pool: one watches over the workers, one submits where a caller would have to wait."""

import itertools
import queue
import threading

from multiprocessing import util
from multiprocessing.connection import wait
from multiprocessing.pool import RUN, TERMINATE

from ._pool_results import IMapIterator
from ._pool_tasks import DIED, PAUSE, TOLD, worker

# No job has this number, nor any as a seat says it.
NO_JOB = 1 << 31


class Staff:
    """The workers, and the thread that watches over them. Knows no pool, so that a pool can be forgotten."""

    def __init__(self, mail, ctx, start, processes, is_final, options):
        self.mail = mail
        self.ctx = ctx
        self.start = start
        self.processes = processes
        self.is_final = is_final
        self.options = options
        self.workers = []
        self._seats = {}
        self._lock = threading.Lock()

    def fill(self):
        """Starts the workers that are missing."""
        with self._lock:
            for _ in range(self.processes - len(self.workers)):
                taken = set(self._seats.values())
                seat = next(seat for seat in itertools.count() if seat not in taken)
                started = self.start(self.ctx, target=worker, args=(self.mail.desk, seat, *self.options))
                started.name = started.name.replace('Process', 'PoolWorker')
                started.daemon = True
                started.start()
                self.workers.append(started)
                self._seats[started] = seat
                util.debug('added worker')

    def clear(self):
        """Takes the workers out that have ended, and says what they were at. Were there any?"""
        with self._lock:
            # Of one that is about to end the status is not there yet.
            ending = wait([one.sentinel for one in self.workers], 0)
            ended = [one for one in self.workers if one.exitcode is not None or one.sentinel in ending]
            for one in ended:
                one.join()
                self.workers.remove(one)
                self._report(one, self._seats.pop(one))
        return bool(ended)

    def _report(self, ended, seat):
        desk = self.mail.desk
        # Now, and not when somebody happens to wait for what it had: the task goes to the next worker.
        desk.recover()
        place = desk.clear_seat(seat)
        if place is not None or ended.exitcode != 0:
            # Behind everything that came from it.
            self._tell(*(place or (NO_JOB, 0)), DIED, (ended.pid, ended.exitcode, self.is_final))

    def _tell(self, job, index, kind, value):
        """Hands an outcome of its own in; there is room for it as soon as somebody receives."""
        mail = self.mail
        if mail.state == RUN and mail.cache:
            mail.start_thread()
        while not mail.desk.put_outcome(job, index, kind, value, PAUSE) and mail.state != TERMINATE:
            pass

    def watch(self):
        """The thread: until the pool is closed and everything is done."""
        mail = self.mail
        answered = 0
        while mail.state == RUN or (mail.cache and mail.state != TERMINATE):
            question = mail.questions
            if self.clear():
                self.fill()
            if question > answered:
                self._tell(0, 0, TOLD, question)
                answered = question
            wait([mail.bell, *(one.sentinel for one in self.workers)])
            mail.bell.settle()
        if mail.state != TERMINATE:
            mail.desk.close()
        util.debug('worker handler exiting')


class Feeder:
    """A thread that submits where a caller would have to wait: for room, or for the next item of an iterable."""

    def __init__(self, mail):
        self._mail = mail
        self._work = queue.SimpleQueue()
        self._lock = threading.Lock()
        self.thread = None

    def put(self, awaited, tasks):
        """Submits ``tasks`` (index, task) for ``awaited`` in the background."""
        self._work.put((awaited, tasks))
        with self._lock:
            if self.thread is None:
                self.thread = threading.Thread(target=self._feed, name='PoolTasks', daemon=True)
                self.thread.start()

    def is_busy(self):
        return not self._work.empty()

    def _feed(self):
        for awaited, tasks in iter(self._work.get, None):
            submit(self._mail, awaited, tasks, self._put)
            awaited = tasks = None

    def _put(self, job, index, task):
        while self._mail.state != TERMINATE:
            if self._mail.desk.put_task(job, index, task, PAUSE):
                return True
        return False

    def stop(self):
        self._work.put(None)


def submit(mail, awaited, tasks, put):
    """Submits tasks with ``put`` as long as it finds room; gives the one that it has not, or None at the end.

    A task that cannot be pickled fails; an iterable that raises fails what is not submitted.
    """
    job = awaited._job
    index = -1
    try:
        for index, task in tasks:
            try:
                if not put(job, index, task):
                    return index, task
            except Exception as error:
                mail.settle(job, index, (False, error))
            else:
                mail.out += 1
        index += 1
    except Exception as error:
        awaited.fail_rest(index + 1, error)
        return None
    if isinstance(awaited, IMapIterator):
        awaited._set_length(index)
        if not mail.cache and mail.state != RUN:
            mail.bell.put()
    return None
