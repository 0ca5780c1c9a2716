"""What a forked child has of its parent's objects, whatever the two do meanwhile, and whoever is killed."""

import gc
import os
import signal
import threading

import pytest

import ginnel

PATIENCE = 30


@pytest.fixture
def fork():
    """The context that forks."""
    return ginnel.get_context('fork')


def reaped(pid):
    """The exit code of a child that was forked by hand."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def in_fork(body):
    """Forks by hand; the child runs ``body`` and ends without any cleaning up. Its process id."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            body()
            code = 0
        finally:
            os._exit(code)
    return pid


def test_objects_live_on_in_the_child_that_the_parent_forgot(fork):
    def use(gate, lock, numbers, out):
        gate.acquire()
        with lock:
            numbers.put(2)
        out.send([numbers.get(timeout=PATIENCE), numbers.get(timeout=PATIENCE)])

    gate = fork.Semaphore(0)
    back, out = fork.Pipe(False)
    lock, numbers = fork.Lock(), fork.Queue()
    numbers.put(1)
    child = in_fork(lambda: use(gate, lock, numbers, out))
    del lock, numbers
    gc.collect()
    gate.release()
    assert back.recv() == [1, 2]
    assert reaped(child) == 0


@pytest.mark.parametrize('uses_it', [True, False])
def test_a_pipe_ends_when_its_last_holder_is_killed(fork, uses_it):
    ours, theirs = fork.Pipe(False)
    ready, never = fork.Semaphore(0), fork.Semaphore(0)

    def hold():
        if uses_it:
            theirs.send('here')
        ready.release()
        never.acquire()

    child = in_fork(hold)
    theirs.close()
    assert ready.acquire(timeout=PATIENCE)
    if uses_it:
        assert ours.recv() == 'here'
    assert not ours.poll(0)
    os.kill(child, signal.SIGKILL)
    with pytest.raises(EOFError):
        ours.recv()
    assert reaped(child) == -signal.SIGKILL


def test_a_pipe_ends_when_the_child_closes_it(fork):
    ours, theirs = fork.Pipe(False)
    never = fork.Semaphore(0)

    def close():
        ours.close()
        theirs.close()
        never.acquire()

    child = in_fork(close)
    theirs.close()
    with pytest.raises(EOFError):
        ours.recv()
    never.release()
    assert reaped(child) == 0


def test_grandchildren_have_what_the_children_never_used(fork):
    lock, numbers = fork.Lock(), fork.SimpleQueue()

    def deeper(depth):
        if depth:
            assert reaped(in_fork(lambda: deeper(depth - 1))) == 0
        else:
            with lock:
                numbers.put(os.getpid())

    assert reaped(in_fork(lambda: deeper(4))) == 0
    assert numbers.get() != os.getpid()


def test_a_lock_of_a_killed_child_comes_free(fork):
    lock, ready, never = fork.Lock(), fork.Semaphore(0), fork.Semaphore(0)

    def hold():
        lock.acquire()
        ready.release()
        never.acquire()

    child = in_fork(hold)
    assert ready.acquire(timeout=PATIENCE)
    assert not lock.acquire(False)
    os.kill(child, signal.SIGKILL)
    assert lock.acquire(timeout=PATIENCE)
    lock.release()
    assert reaped(child) == -signal.SIGKILL


def test_many_forks_leave_nothing_open(fork):
    lock = fork.Lock()

    def once(killed):
        with lock:
            if killed:
                os.kill(os.getpid(), signal.SIGKILL)

    once(False)
    before = sorted(os.listdir('/proc/self/fd'))
    for turn in range(60):
        killed = turn % 3 == 0
        assert reaped(in_fork(lambda: once(killed))) == (-signal.SIGKILL if killed else 0)
    assert sorted(os.listdir('/proc/self/fd')) == before


def test_threads_fork_while_others_make_and_drop_objects(fork):
    numbers, stop = fork.SimpleQueue(), threading.Event()

    def churn():
        while not stop.is_set():
            lock, other = fork.Lock(), fork.SimpleQueue()
            with lock:
                other.put(1)
                assert other.get() == 1

    def forks(first):
        for number in range(first, first + 25):
            child = fork.Process(target=numbers.put, args=(number,))
            child.start()
            child.join()
            assert child.exitcode == 0

    busy = [threading.Thread(target=churn) for _ in range(2)]
    forking = [threading.Thread(target=forks, args=(first,)) for first in (0, 100)]
    for thread in busy + forking:
        thread.start()
    for thread in forking:
        thread.join()
    stop.set()
    for thread in busy:
        thread.join()
    seen = {numbers.get() for _ in range(50)}
    assert seen == {*range(25), *range(100, 125)}
