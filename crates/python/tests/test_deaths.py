"""Processes that are killed at the worst moment. With the standard library each of these programs hangs, loses what
was sent, or destroys what others use.
"""

import os
import signal
import subprocess
import sys
import time

import pytest

# A wait that takes this long has failed.
LONG = 30

# futex and futex_waitv, on x86-64 and aarch64.
FUTEX = {'202', '98', '449'}


def until(condition, what):
    """Waits for something that this process is not told."""
    end = time.monotonic() + LONG
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.001)


def is_waiting(pid):
    """Does that process wait for somebody?"""
    try:
        with open(f'/proc/{pid}/syscall') as file:
            return file.read().split()[0] in FUTEX
    except PermissionError:
        with open(f'/proc/{pid}/stat') as file:
            return file.read().rpartition(')')[2].split()[0] == 'S'


def is_gone(pid):
    try:
        with open(f'/proc/{pid}/stat') as file:
            return file.read().rpartition(')')[2].split()[0] == 'Z'
    except (FileNotFoundError, ProcessLookupError):
        return True


def kill(process):
    os.kill(process.pid, signal.SIGKILL)
    process.join(LONG)
    assert process.exitcode == -signal.SIGKILL


def kill_waiting(process):
    until(lambda: is_waiting(process.pid), 'the process does not wait')
    kill(process)


def start(ctx, function, *args, **options):
    process = ctx.Process(target=function, args=args, **options)
    process.start()
    return process


def end(process):
    process.join(LONG)
    assert process.exitcode == 0


def hold(lock, ready):
    lock.acquire()
    ready.set()
    signal.pause()


@pytest.mark.parametrize('kind', ['Lock', 'RLock'])
def test_the_owner_of_a_lock_is_killed(ctx, kind):
    lock, ready = getattr(ctx, kind)(), ctx.Event()
    owner = start(ctx, hold, lock, ready)
    assert ready.wait(LONG)
    assert not lock.acquire(timeout=0)
    kill(owner)
    assert lock.acquire(timeout=LONG)
    lock.release()


def read(queue, ready):
    ready.set()
    queue.get()


@pytest.mark.parametrize('kind', ['Queue', 'SimpleQueue', 'JoinableQueue'])
def test_a_reader_is_killed_in_get(ctx, kind):
    queue, ready = getattr(ctx, kind)(), ctx.Event()
    reader = start(ctx, read, queue, ready)
    assert ready.wait(LONG)
    kill_waiting(reader)
    queue.put('for somebody else')
    assert queue.get() == 'for somebody else'


LARGE = bytes(range(256)) * 12_000


def write(queue):
    while True:
        queue.put(LARGE)


def write_last(queue):
    queue.put('last')


def test_a_writer_is_killed_in_the_middle_of_a_large_item(ctx):
    queue = ctx.Queue(2)
    for _ in range(3):
        writer = start(ctx, write, queue)
        assert queue.get(timeout=LONG) == LARGE
        kill(writer)
    last = start(ctx, write_last, queue)
    found = queue.get(timeout=LONG)
    while found != 'last':
        assert found == LARGE
        found = queue.get(timeout=LONG)
    end(last)


def put_megabyte(queue):
    queue.put(bytes(1 << 20))


def test_join_before_get(ctx):
    queue = ctx.Queue()
    end(start(ctx, put_megabyte, queue))
    assert queue.get(timeout=LONG) == bytes(1 << 20)


def wait_for_notice(condition, ready):
    with condition:
        ready.release()
        condition.wait()


def test_a_waiter_of_a_condition_is_killed(ctx):
    condition, ready = ctx.Condition(), ctx.Semaphore(0)
    waiters = [start(ctx, wait_for_notice, condition, ready) for _ in range(2)]
    for _ in waiters:
        assert ready.acquire(timeout=LONG)
    kill_waiting(waiters[0])
    with condition:
        condition.notify_all()
    end(waiters[1])
    with condition:
        condition.notify()


def wait_for_event(event, ready):
    ready.release()
    assert event.wait(LONG)


def test_a_waiter_of_an_event_is_killed(ctx):
    event, ready = ctx.Event(), ctx.Semaphore(0)
    waiters = [start(ctx, wait_for_event, event, ready) for _ in range(2)]
    for _ in waiters:
        assert ready.acquire(timeout=LONG)
    kill_waiting(waiters[0])
    event.set()
    end(waiters[1])
    event.clear()
    event.set()
    assert event.is_set()


def wait_at_barrier(barrier):
    barrier.wait()


def arrive(barrier, broken):
    import threading
    try:
        barrier.wait(LONG)
    except threading.BrokenBarrierError:
        broken.release()


def test_a_party_of_a_barrier_is_killed(ctx):
    barrier, broken = ctx.Barrier(3), ctx.Semaphore(0)
    first = start(ctx, wait_at_barrier, barrier)
    until(lambda: barrier.n_waiting == 1, 'nobody is at the barrier')
    kill_waiting(first)
    others = [start(ctx, arrive, barrier, broken) for _ in range(2)]
    for other in others:
        end(other)
    assert broken.acquire(timeout=LONG) and broken.acquire(timeout=LONG)


def die(_=None):
    os.kill(os.getpid(), signal.SIGKILL)


def square(number):
    return number * number


def test_a_worker_is_killed_during_its_task(ctx):
    from ginnel import WorkerDied
    with ctx.Pool(2) as pool:
        with pytest.raises(WorkerDied) as caught:
            pool.apply_async(die).get(LONG)
        assert caught.value.exitcode == -signal.SIGKILL and caught.value.pid > 0
        with pytest.raises(WorkerDied):
            pool.map_async(die, range(4), chunksize=1).get(LONG)
        assert pool.map_async(square, range(9)).get(LONG) == [n * n for n in range(9)]


def test_idle_workers_are_killed(ctx):
    with ctx.Pool(2) as pool:
        assert pool.apply_async(square, (3,)).get(LONG) == 9
        for process in list(pool._pool):
            until(lambda: is_waiting(process.pid), 'the worker is not idle')
            os.kill(process.pid, signal.SIGKILL)
        assert pool.map_async(square, range(9), chunksize=1).get(LONG) == [n * n for n in range(9)]


class Odd(Exception):
    """Pickled, it cannot be rebuilt."""

    def __init__(self, what, why):
        super().__init__(f'{what}: {why}')


def raise_odd():
    raise Odd('this', 'that')


def test_an_exception_that_cannot_be_rebuilt(ctx):
    with ctx.Pool(1) as pool:
        with pytest.raises(RuntimeError, match='this: that'):
            pool.apply_async(raise_odd).get(LONG)
        assert pool.apply_async(square, (4,)).get(LONG) == 16


def sleep(pids):
    pids.put(os.getpid())
    signal.pause()


def start_daemons(ctx, pids):
    for _ in range(2):
        start(ctx, sleep, pids, daemon=True)
    signal.pause()


def test_daemons_end_with_a_killed_parent(ctx, method):
    import ginnel
    pids = ctx.Queue()
    # The method goes along by its name: contexts cannot be pickled.
    parent = start(ctx, start_daemons_by, method, pids)
    daemons = [pids.get(timeout=LONG) for _ in range(2)]
    assert ginnel.active_children() == [parent]
    kill(parent)
    until(lambda: all(map(is_gone, daemons)), 'a daemon outlives its parent')


def start_daemons_by(method, pids):
    import ginnel
    start_daemons(ginnel.get_context(method), pids)


ATTACH = '''
import sys
from ginnel.shared_memory import SharedMemory
memory = SharedMemory(sys.argv[1])
assert bytes(memory.buf[:5]) == b'alive'
memory.close()
'''


def test_one_who_attaches_to_shared_memory_does_not_destroy_it():
    from ginnel.shared_memory import SharedMemory
    memory = SharedMemory(create=True, size=100)
    try:
        memory.buf[:5] = b'alive'
        for _ in range(2):
            done = subprocess.run([sys.executable, '-c', ATTACH, memory.name], capture_output=True, timeout=LONG)
            assert (done.returncode, done.stderr) == (0, b'')
    finally:
        memory.close()
        memory.unlink()


STARTS_AND_ENDS = '''
import os
import sys
import ginnel as multiprocessing

def work(lock, queue, n):
    with lock:
        os.write(1, b'worker %d\\n' % n)

if __name__ == '__main__':
    multiprocessing.set_start_method(sys.argv[1])
    for n in range(3):
        lock, queue = multiprocessing.Lock(), multiprocessing.Queue()
        multiprocessing.Process(target=work, args=(lock, queue, n)).start()
        del lock, queue
'''


def test_what_a_child_was_given_is_there_for_it(method, tmp_path):
    program = tmp_path / 'starts_and_ends.py'
    program.write_text(STARTS_AND_ENDS)
    done = subprocess.run([sys.executable, str(program), method], capture_output=True, text=True, timeout=LONG)
    assert sorted(done.stdout.splitlines()) == ['worker 0', 'worker 1', 'worker 2']
    assert (done.returncode, done.stderr) == (0, '')
