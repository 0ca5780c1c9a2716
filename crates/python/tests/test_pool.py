"""Pools: what ours promise beyond the standard library's, and how results find the threads that wait for them."""

import gc
import itertools
import os
import pickle
import signal
import threading
import time

import multiprocessing
import pytest

import ginnel
from ginnel import WorkerDied
from ginnel.pool import MaybeEncodingError, RemoteTraceback

LONG = 30


def square(number):
    return number * number


def add(a, b=0):
    return a + b


def fail(text):
    raise ValueError(text)


def make_function(_):
    return lambda: None


def die_once(flag):
    try:
        os.close(os.open(flag, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return os.getpid()
    os.kill(os.getpid(), signal.SIGKILL)


def die(_=None):
    os.kill(os.getpid(), signal.SIGKILL)


def leave(code):
    os._exit(code)


def append_line(path):
    with open(path, 'a') as file:
        file.write(f'{os.getpid()}\n')
    die()


@pytest.fixture
def pool():
    with ginnel.get_context('fork').Pool(2) as pool:
        yield pool
    pool.join()


def test_it_is_a_pool(pool):
    assert isinstance(pool, multiprocessing.pool.Pool)
    assert isinstance(pool.apply_async(square, (1,)), multiprocessing.pool.ApplyResult)
    assert isinstance(pool.map_async(square, (1,)), multiprocessing.pool.MapResult)
    assert isinstance(pool.imap(square, (1,)), multiprocessing.pool.IMapIterator)
    assert repr(pool) == '<ginnel.pool.Pool state=RUN pool_size=2>'
    with pytest.raises(NotImplementedError):
        pickle.dumps(pool)


def test_everything_that_a_pool_does(ctx):
    with ctx.Pool(2) as pool:
        assert pool.apply(add, (1,), {'b': 2}) == 3
        assert pool.map(square, range(100)) == [n * n for n in range(100)]
        assert pool.map(square, (n for n in range(100)), chunksize=1) == [n * n for n in range(100)]
        assert pool.starmap(add, [(1, 2), (3, 4)]) == [3, 7]
        assert pool.map(square, []) == []
        assert list(pool.imap(square, range(100), chunksize=9)) == [n * n for n in range(100)]
        assert sorted(pool.imap_unordered(square, range(100))) == sorted(n * n for n in range(100))
        assert pool.map(str.upper, ['a', 'b']) == ['A', 'B']
        pool.close()
        pool.join()
    with pytest.raises(ValueError, match='Pool not running'):
        pool.apply(square, (1,))


def test_large_tasks_and_results(ctx):
    with ctx.Pool(2) as pool:
        large = [bytes([n]) * 300_000 for n in range(8)]
        assert pool.map(bytes.swapcase, large, chunksize=1) == [one.swapcase() for one in large]


def test_failures(pool):
    with pytest.raises(ValueError, match='because') as caught:
        pool.apply(fail, ('because',))
    assert isinstance(caught.value.__cause__, RemoteTraceback) and 'raise ValueError(text)' in caught.value.__cause__.tb
    with pytest.raises(MaybeEncodingError):
        pool.apply(make_function, (1,))
    with pytest.raises((AttributeError, pickle.PicklingError)):
        pool.apply(lambda: None)
    with pytest.raises((AttributeError, pickle.PicklingError)):
        pool.map(lambda n: n, range(3))
    assert pool.apply(square, (2,)) == 4


def test_an_iterable_that_raises(pool):
    def numbers():
        yield from range(3)
        raise KeyError('no more')

    results = pool.imap(square, numbers())
    assert [next(results) for _ in range(3)] == [0, 1, 4]
    with pytest.raises(KeyError):
        next(results)
    with pytest.raises(StopIteration):
        next(results)


def test_an_endless_iterable(pool):
    results = pool.imap(square, itertools.count())
    assert list(itertools.islice(results, 1000)) == [n * n for n in range(1000)]


def test_more_tasks_than_there_is_room_for(pool):
    count = 40_000
    results = [pool.apply_async(square, (n,)) for n in range(count)]
    assert [result.get(LONG) for result in results] == [n * n for n in range(count)]
    assert pool.map(square, range(count), chunksize=1) == [n * n for n in range(count)]


def test_timeouts(pool):
    barrier = ginnel.get_context('fork').Barrier(2)
    with ginnel.get_context('fork').Pool(1, initializer=share, initargs=(barrier,)) as waiting:
        result = waiting.apply_async(meet)
        with pytest.raises(multiprocessing.TimeoutError):
            result.get(0)
        with pytest.raises(multiprocessing.TimeoutError):
            result.get(0.01)
        with pytest.raises(ValueError, match='not ready'):
            result.successful()
        results = waiting.imap(square, [5])
        with pytest.raises(multiprocessing.TimeoutError):
            results.next(0.01)
        assert not result.ready()
        barrier.wait(LONG)
        assert result.get(LONG) is None and result.ready() and result.successful()
        assert results.next(LONG) == 25


_shared = None


def share(what):
    global _shared
    _shared = what


def meet():
    _shared.wait(LONG)


def test_threads_that_wait_for_one_another(pool):
    """Each may be the one that receives for all."""
    failed = []

    def work(n):
        for i in range(100):
            if pool.apply(square, (n * i,)) != (n * i) ** 2 or pool.map(square, [n, i], 1) != [n * n, i * i]:
                failed.append(n)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LONG)
    assert not failed and not any(thread.is_alive() for thread in threads)


def test_callbacks(pool, monkeypatch):
    reported = []
    monkeypatch.setattr(threading, 'excepthook', lambda of: reported.append(of.exc_value))
    values, errors, done = [], [], threading.Event()
    pool.apply_async(square, (3,), callback=values.append).wait(LONG)
    pool.map_async(square, [1, 2], callback=values.append).wait(LONG)
    pool.apply_async(fail, ('so',), callback=values.append, error_callback=errors.append).wait(LONG)
    # Nobody waits for this one.
    pool.apply_async(square, (4,), callback=lambda value: (values.append(value), done.set()))
    assert done.wait(LONG)
    assert values == [9, [1, 4], 16] and [type(error) for error in errors] == [ValueError]
    pool.apply_async(square, (3,), callback=fail).wait(LONG)
    assert [str(error) for error in reported] == ['9']
    assert pool.apply_async(square, (5,)).get(LONG) == 25


def test_a_death_is_reported_once(ctx):
    errors = []
    with ctx.Pool(2) as pool:
        results = [pool.apply_async(die, error_callback=errors.append)] + [
            pool.apply_async(square, (n,)) for n in range(50)]
        with pytest.raises(WorkerDied, match='exit code -9'):
            results[0].get(LONG)
        assert [result.get(LONG) for result in results[1:]] == [n * n for n in range(50)]
        with pytest.raises(WorkerDied) as caught:
            pool.apply_async(leave, (3,)).get(LONG)
        assert caught.value.exitcode == 3
        assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)
    assert len(errors) == 1 and issubclass(WorkerDied, multiprocessing.ProcessError)


def test_only_the_dead_ones_fail_in_a_map(pool):
    results = pool.imap(maybe_die, range(20))
    found = []
    for _ in range(20):
        try:
            found.append(results.next(LONG))
        except WorkerDied:
            found.append('died')
    assert found == ['died' if n in (3, 11) else n for n in range(20)]
    results = pool.imap_unordered(maybe_die, range(20))
    died, values = 0, []
    while True:
        try:
            values.append(results.next(LONG))
        except WorkerDied:
            died += 1
        except StopIteration:
            break
    assert died == 2 and sorted(values) == [n for n in range(20) if n not in (3, 11)]


def maybe_die(n):
    return die() if n in (3, 11) else n


def test_a_retried_task_runs_again(ctx, tmp_path):
    with ctx.Pool(2, on_worker_death='retry') as pool:
        result = pool.apply_async(die_once, (str(tmp_path / 'flag'),))
        assert result.get(LONG) > 0
        with pytest.raises(WorkerDied):
            pool.apply_async(append_line, (str(tmp_path / 'lines'),)).get(LONG)
    # Once, and three times more.
    assert len((tmp_path / 'lines').read_text().splitlines()) == 4
    with pytest.raises(ValueError, match='on_worker_death'):
        ctx.Pool(1, on_worker_death='ignore')


def test_terminate_ends_those_who_wait():
    pool = ginnel.get_context('fork').Pool(1)
    result = pool.apply_async(time.sleep, (600,))
    errors = []

    def wait():
        try:
            result.get(LONG)
        except multiprocessing.ProcessError as error:
            errors.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    pool.terminate()
    pool.join()
    thread.join(LONG)
    assert len(errors) == 1


def test_terminate_with_outcomes_that_nobody_took():
    pool = ginnel.get_context('fork').Pool(2)
    for _ in range(3):
        pool.map_async(square, range(20_000), chunksize=1)
        os.kill(pool._pool[0].pid, signal.SIGKILL)
    pool.terminate()
    pool.join()
    assert not any(process.is_alive() for process in pool._pool)


def test_arrays_travel(ctx):
    numpy = pytest.importorskip('numpy')
    with ctx.Pool(1) as pool:
        for count in (3, 10_000, 300_000):
            there = numpy.arange(count) * 1.5
            assert numpy.array_equal(pool.apply(numpy.negative, (there,)), -there)


def test_locks_and_queues_are_arguments(ctx):
    lock, queue = ctx.Lock(), ctx.Queue()
    with ctx.Pool(1) as pool:
        pool.apply(put_under_lock, (lock, queue, 'there'))
        assert queue.get(timeout=LONG) == 'there'


def put_under_lock(lock, queue, what):
    with lock:
        queue.put(what)


def test_close_waits_for_tasks_that_nobody_waits_for(ctx):
    pool = ctx.Pool(2)
    results = [pool.apply_async(square, (n,)) for n in range(200)]
    pool.close()
    pool.join()
    assert [result.get(0) for result in results] == [n * n for n in range(200)]
    assert not any(process.is_alive() for process in pool._pool)


def test_workers_are_replaced_after_their_tasks(ctx):
    with ctx.Pool(1, maxtasksperchild=2) as pool:
        pids = [pool.apply(os.getpid) for _ in range(6)]
    assert len(set(pids)) == 3 and pids[0] == pids[1]


def test_a_forgotten_pool_ends():
    pool = ginnel.get_context('fork').Pool(2)
    assert pool.apply(square, (2,)) == 4
    workers = list(pool._pool)
    with pytest.warns(ResourceWarning):
        del pool
        gc.collect()
    for process in workers:
        process.join(LONG)
        assert process.exitcode is not None


def test_ctrl_c_loses_nothing(pool):
    """An exception in the middle of a wait, again and again: each result arrives all the same."""
    end = time.monotonic() + LONG
    rounds = 0

    def interrupt(_, frame):
        while frame is not None:
            if frame.f_code.co_name == 'attend':
                raise InterruptedError
            frame = frame.f_back

    old = signal.signal(signal.SIGALRM, interrupt)
    try:
        results = [pool.apply_async(square, (n,)) for n in range(3000)]
        signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
        pending = list(results)
        while pending and time.monotonic() < end:
            try:
                pending[-1].wait(LONG)
                pending.pop()
            except InterruptedError:
                rounds += 1
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)
    assert rounds > 0
    assert [result.get(LONG) for result in results] == [n * n for n in range(3000)]
