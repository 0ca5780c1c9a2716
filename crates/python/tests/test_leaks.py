"""Nothing grows: descriptors, threads, files in shared memory, dead children.

``GINNEL_TEST_LEAKS=10`` makes everything ten times as often.
"""

import gc
import os
import signal
import threading

import pytest

from ginnel import WorkerDied

TIMES = int(os.environ.get('GINNEL_TEST_LEAKS', 1))
LONG = 60


def zombies():
    found = 0
    for name in filter(str.isdigit, os.listdir('/proc')):
        try:
            with open(f'/proc/{name}/stat') as file:
                state, parent = file.read().rpartition(')')[2].split()[:2]
        except OSError:
            continue
        found += int(parent) == os.getpid() and state == 'Z'
    return found


def held():
    """What this process has, and what is there under names."""
    gc.collect()
    return {
        'descriptors': len(os.listdir('/proc/self/fd')),
        'threads': threading.active_count(),
        'tasks': len(os.listdir('/proc/self/task')),
        'files': len(os.listdir('/dev/shm')),
        'zombies': zombies(),
    }


def assert_no_growth(before):
    after = held()
    growth = {name: after[name] - before[name] for name in before if after[name] > before[name]}
    assert not growth


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def hold(lock, queue, ready):
    lock.acquire()
    ready.set()
    queue.get()


def fill(pool):
    """The last dead worker may not have been replaced yet."""
    while len([one for one in pool._pool if one.is_alive()]) < 2:
        pool._repopulate_pool()


def use(ctx):
    queue, lock = ctx.Queue(), ctx.Lock()
    ours, theirs = ctx.Pipe()
    queue.put([1, 'two', None])
    with lock:
        assert queue.get() == [1, 'two', None]
    ours.send(b'four')
    assert theirs.recv() == b'four'
    ours.close()
    theirs.close()


@pytest.mark.parametrize('method', ['fork'])
def test_objects_come_and_go(ctx):
    use(ctx)
    before = held()
    for _ in range(1000 * TIMES):
        use(ctx)
    assert_no_growth(before)


@pytest.mark.parametrize('method', ['fork'])
def test_workers_are_killed(ctx):
    with ctx.Pool(2) as pool:
        with pytest.raises(WorkerDied):
            pool.apply(die)
        fill(pool)
        before = held()
        for _ in range(100 * TIMES):
            with pytest.raises(WorkerDied):
                pool.apply_async(die).get(LONG)
        assert pool.apply(os.getpid) > 0
        fill(pool)
        assert_no_growth(before)


@pytest.mark.parametrize('method', ['fork'])
def test_processes_are_killed_with_everything_in_their_hands(ctx):
    lock, queue = ctx.Lock(), ctx.Queue()

    def once():
        ready = ctx.Event()
        process = ctx.Process(target=hold, args=(lock, queue, ready))
        process.start()
        assert ready.wait(LONG)
        process.kill()
        process.join()
        assert lock.acquire(timeout=LONG)
        lock.release()

    once()
    before = held()
    for _ in range(50 * TIMES):
        once()
    assert_no_growth(before)
    queue.put('there')
    assert queue.get() == 'there'


def test_pools_come_and_go(ctx, method):
    def once():
        with ctx.Pool(2) as pool:
            assert pool.map(abs, range(-9, 0), chunksize=1) == list(range(9, 0, -1))
        pool.join()

    once()
    before = held()
    for _ in range((20 if method == 'fork' else 3) * TIMES):
        once()
    assert_no_growth(before)
