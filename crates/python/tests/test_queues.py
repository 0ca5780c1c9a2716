"""Queues: the manners of the standard library's, and what is ours beside them."""

import gc
import os
import queue
import select
import signal
import threading
import time

import pytest

import ginnel

numpy = None
try:
    import numpy
except ImportError:
    pass


def produce(q, name, count):
    for number in range(count):
        q.put((name, number, [number, None, 'hello word'], 1j))


def echo(inbox, outbox):
    for obj in iter(inbox.get, None):
        outbox.put(obj)


def test_producers_and_a_consumer(ctx):
    q = ctx.Queue()
    producers = [ctx.Process(target=produce, args=(q, name, 200)) for name in 'ab']
    for process in producers:
        process.start()
    got = [q.get(timeout=30) for _ in range(400)]
    for process in producers:
        process.join()
    for name in 'ab':
        assert [number for other, number, _, _ in got if other == name] == list(range(200))
    assert q.empty() and q.qsize() == 0


def test_a_round_trip_through_a_child(ctx):
    inbox, outbox = ctx.Queue(3), ctx.SimpleQueue()
    child = ctx.Process(target=echo, args=(inbox, outbox))
    child.start()
    for obj in ({'a': [1, 2]}, 'x' * 100_000, b'y' * 300_000, {1, 2}, list(range(1000))):
        inbox.put(obj)
        assert outbox.get() == obj
    inbox.put(None)
    child.join()
    assert child.exitcode == 0


@pytest.mark.parametrize('limit', [1, 2, 3, 7, 100, 1500])
def test_a_limit_is_exact(limit):
    q = ginnel.Queue(limit)
    for round in range(3):
        for number in range(limit):
            assert not q.full() and q.qsize() == number
            q.put_nowait(number)
        assert q.full() and q.qsize() == limit
        for arguments in ((False,), (True, 0), (True, -1), (True, 0.01)):
            with pytest.raises(queue.Full):
                q.put('more', *arguments)
        assert [q.get_nowait() for _ in range(limit)] == list(range(limit))
        with pytest.raises(queue.Empty):
            q.get_nowait()


def test_a_put_waits_for_room():
    q = ginnel.Queue(1)
    q.put(1)
    thread = threading.Thread(target=q.put, args=(2,))
    thread.start()
    assert [q.get(timeout=20), q.get(timeout=20)] == [1, 2]
    thread.join()


def test_timeouts_end_and_forever_is_for_ever():
    q = ginnel.Queue()
    for timeout, least in ((0, 0), (-3, 0), (0.05, 0.05)):
        start = time.monotonic()
        with pytest.raises(queue.Empty):
            q.get(True, timeout)
        assert least <= time.monotonic() - start < 10
    with pytest.raises(TypeError):
        q.get(timeout='soon')


def test_signals_are_answered_in_a_get():
    q = ginnel.Queue()

    class Rung(Exception):
        pass

    def ring(*_):
        raise Rung

    before = signal.signal(signal.SIGALRM, ring)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        with pytest.raises(Rung):
            q.get()
    finally:
        signal.signal(signal.SIGALRM, before)
    q.put('still usable')
    assert q.get() == 'still usable'


def late(q):
    produce(q, 'late', 3)


def test_a_put_without_a_limit_never_waits_and_join_thread_does(ctx):
    q = ctx.Queue()
    for number in range(40_000):
        q.put(number)
    assert len(q._buffer) > 0
    child = ctx.Process(target=late, args=(q,))
    child.start()
    got = []
    while len(got) < 40_003:
        got += q.get_many(timeout=30)
    child.join()
    assert [number for number in got if isinstance(number, int)] == list(range(40_000))
    q.close()
    q.join_thread()
    with pytest.raises(ValueError, match='is closed'):
        q.put(1)
    with pytest.raises(ValueError, match='is closed'):
        q.get()


def flood(q):
    for number in range(30_000):
        q.put(number)


def test_a_process_ends_when_its_backlog_was_taken(ctx):
    q = ctx.Queue()
    child = ctx.Process(target=flood, args=(q,))
    child.start()
    assert [q.get(timeout=30) for _ in range(30_000)] == list(range(30_000))
    child.join()
    assert child.exitcode == 0


def test_what_cannot_be_pickled_is_the_feeders_business(capfd):
    q = ginnel.Queue()
    q.put(lambda: None)
    q.put('next')
    assert q.get() == 'next'
    assert 'Error' in capfd.readouterr().err
    heard = []

    class Hears(type(q)):
        def _on_queue_feeder_error(self, error, obj):
            heard.append((type(error).__name__, obj))

    q = Hears(ctx=ginnel.get_context())
    obj = (lambda: None,)
    q.put(obj)
    assert len(heard) == 1 and heard[0][1] is obj
    with pytest.raises(Exception):
        ginnel.SimpleQueue().put(obj)


def work(q):
    while True:
        q.get()
        q.task_done()


def test_joinable(ctx):
    q = ctx.JoinableQueue()
    workers = [ctx.Process(target=work, args=(q,), daemon=True) for _ in range(2)]
    for worker in workers:
        worker.start()
    for number in range(50):
        q.put(number)
    q.join()
    assert q.empty()
    with pytest.raises(ValueError):
        q.task_done()
    for worker in workers:
        worker.terminate()
        worker.join()
    q.put('again')
    assert q.get() == 'again'
    q.task_done()
    q.join()


def test_many_and_bytes():
    q = ginnel.Queue()
    assert q.put_many(range(10)) == 10
    assert q.get_many(4) == [0, 1, 2, 3]
    assert q.get_many() == [4, 5, 6, 7, 8, 9]
    assert q.get_many(0) == []
    with pytest.raises(queue.Empty):
        q.get_many(block=False)
    q.put_bytes(b'one')
    q.put_bytes(memoryview(bytearray(b'two')))
    assert (q.get_bytes(), q.get()) == (b'one', b'two')
    q.put('no bytes')
    with pytest.raises(TypeError):
        q.get_bytes()


def take_a_lease_and_die(q, ready):
    lease = q.lease()
    ready.put(lease.value)
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_lease_comes_again(ctx):
    q, ready = ctx.Queue(), ctx.SimpleQueue()
    q.put('job')
    child = ctx.Process(target=take_a_lease_and_die, args=(q, ready))
    child.start()
    assert ready.get() == 'job'
    child.join()
    lease = q.lease(timeout=30)
    assert (lease.value, lease.redelivered) == ('job', 1)
    lease.nack()
    lease = q.lease(timeout=30)
    assert lease.redelivered == 2
    lease.ack()
    assert q.empty()


def get_and_die(q):
    q.get()
    threading.Thread(target=q.get, daemon=True).start()
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_killed_consumer_leaves_the_queue_usable(ctx):
    q = ctx.Queue()
    children = [ctx.Process(target=get_and_die, args=(q,)) for _ in range(3)]
    for child in children:
        child.start()
        q.put('for it')
        child.join()
    q.put('mine')
    assert q.get(timeout=30) is not None


def test_a_queue_in_a_queue(ctx):
    outer, inner = ctx.Queue(), ctx.Queue(5)
    inner.put('kept')
    outer.put({'queue': inner})
    del inner
    gc.collect()
    inner = outer.get()['queue']
    assert inner.get() == 'kept'
    for number in range(5):
        inner.put(number)
    with pytest.raises(queue.Full):
        inner.put_nowait(5)
    import pickle
    with pytest.raises(RuntimeError):
        pickle.dumps(inner)


@pytest.mark.parametrize('make', [ginnel.Queue, ginnel.SimpleQueue])
def test_a_reader_has_a_descriptor(make):
    q = make()
    fd = q._reader.fileno()

    def is_readable(timeout=0):
        return bool(select.select([fd], [], [], timeout)[0])

    assert not is_readable()
    q.put(1)
    q.put(2)
    assert is_readable(20)
    assert q.get() == 1
    assert is_readable(20)
    assert q.get() == 2
    assert not is_readable()
    assert not q._reader.poll()


def test_classes_are_subclasses_of_the_standard_ones():
    from multiprocessing import queues
    for name in ('Queue', 'JoinableQueue', 'SimpleQueue'):
        assert isinstance(getattr(ginnel, name)(), getattr(queues, name))
    if hasattr(queues.Queue, '__class_getitem__'):
        assert ginnel.queues.Queue[int]


def modify(array, q):
    array[0] = -1
    q.put(float(array.sum()))


def fill(q, size):
    reserved = q.reserve(size)
    reserved.buffer[:3] = b'abc'
    reserved.buffer[-1] = 7
    reserved.commit()


def test_bytes_are_written_and_read_where_they_travel(ctx):
    q = ctx.Queue()
    child = ctx.Process(target=fill, args=(q, 100_000))
    child.start()
    view = q.recv_view(timeout=30)
    child.join()
    assert len(view) == 100_000 and view[:3] == b'abc' and view[-1] == 7 and not view.readonly
    reserved = q.reserve(1000)
    looking = memoryview(reserved.buffer)
    reserved.buffer[:5] = b'short'
    with pytest.raises(BufferError):
        reserved.commit(5)
    looking.release()
    reserved.commit(5)
    with pytest.raises(ValueError):
        reserved.commit()
    assert q.get() == b'short'
    q.put(b'small')
    assert bytes(q.recv_view()) == b'small'
    q.reserve(10_000)
    assert q.empty()


class Loud:
    @staticmethod
    def dumps(obj):
        return repr(obj).encode()

    @staticmethod
    def loads(data):
        return eval(data.decode())


def test_a_context_may_have_a_pickler_of_its_own(ctx):
    ctx.pickler = Loud
    try:
        q = ctx.Queue()
        assert isinstance(q, ginnel.queues.Queue)
        q.put([1, 'a'])
        assert q.get() == [1, 'a']
        child = ctx.Process(target=q.put, args=({'from': 'child'},))
        child.start()
        assert q.get(timeout=30) == {'from': 'child'}
        child.join()
        assert q.put_many([1, 2]) == 2 and q.get_many() == [1, 2]
    finally:
        del ctx.pickler
    assert type(ctx.Queue()) is ginnel.queues.Queue


@pytest.mark.skipif(numpy is None, reason='numpy is not installed')
class TestArrays:
    def test_arrays_of_all_kinds(self):
        q = ginnel.Queue()
        for shape in ((0,), (7,), (300, 200), (40, 30, 20)):
            for kind in ('u1', 'i4', 'f8', 'c16'):
                array = numpy.arange(numpy.prod(shape), dtype=kind).reshape(shape)
                for one in (array, numpy.asfortranarray(array), array[::2], array.T):
                    q.put([one, one])
                    other, again = q.get()
                    assert (one == other).all() and one.dtype == other.dtype and other is again
                    assert other.flags.writeable

    def test_a_block_is_kept_by_its_views_and_then_used_again(self):
        q = ginnel.Queue()
        kept = []
        for number in range(200):
            q.put(numpy.full(50_000, number))
            kept.append(q.get())
        kept += [array[10:20] for array in kept]
        del kept[:200]
        gc.collect()
        for _ in range(400):
            q.put(numpy.full(50_000, -1))
            q.get()
        assert all((array == number).all() for number, array in enumerate(kept))

    def test_a_child_has_its_own(self, ctx):
        q = ctx.Queue()
        q.put(numpy.ones(100_000))
        array = q.get()
        child = ctx.Process(target=modify, args=(array, q))
        child.start()
        assert q.get(timeout=30) == 99_998
        child.join()
        assert array[0] == 1

    def test_a_fork_copies_what_is_viewed(self):
        q = ginnel.Queue()
        q.put(numpy.ones(100_000))
        array = q.get()
        mine, theirs = os.pipe()
        pid = os.fork()
        if not pid:
            os.read(mine, 1)
            os._exit(0 if array.sum() == 100_000 else 1)
        array[:] = 5
        del array
        os.write(theirs, b'x')
        assert os.waitpid(pid, 0)[1] == 0
        os.close(mine)
        os.close(theirs)

    def test_a_leased_array_is_a_copy(self):
        q = ginnel.Queue()
        q.put(numpy.ones(100_000))
        lease = q.lease()
        lease.value[:] = 7
        lease.nack()
        assert q.get().sum() == 100_000
