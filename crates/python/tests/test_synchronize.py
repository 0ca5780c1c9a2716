"""Locks, semaphores, conditions, events and barriers: stock manners, and what a killed process leaves."""

import asyncio
import copy
import multiprocessing.synchronize as stock
import os
import pickle
import select
import signal
import threading
import time

import ginnel
import ginnel.connection
import pytest
from ginnel import synchronize

LONG = 60


def kill(process):
    os.kill(process.pid, signal.SIGKILL)
    process.join(LONG)
    assert process.exitcode == -signal.SIGKILL


def until(is_so):
    end = time.monotonic() + LONG
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.001)


def hold(lock, held):
    lock.acquire()
    held.set()
    signal.pause()


def stand(condition, result=None):
    with condition:
        called = condition.wait(LONG)
    if result is not None:
        result.send(called)


def come(barrier, result):
    try:
        result.send(barrier.wait())
    except threading.BrokenBarrierError:
        result.send('broken')


def release_it(lock):
    lock.release()


def make_all(ctx):
    return (ctx.Lock(), ctx.RLock(), ctx.Semaphore(3), ctx.BoundedSemaphore(4), ctx.Condition(ctx.Lock()), ctx.Event(),
            ctx.Barrier(2, timeout=7))


def look(things, result):
    lock, rlock, semaphore, bounded, condition, event, barrier = things
    result.send([repr(thing) for thing in (lock, rlock, semaphore, bounded, condition)]
                + [event.is_set(), barrier.parties, barrier._timeout])
    lock.release()
    bounded.acquire()
    event.set()


def test_they_are_the_standard_classes_too():
    things = make_all(ginnel.get_context('fork'))
    for thing, name in zip(things, ('Lock', 'RLock', 'Semaphore', 'BoundedSemaphore', 'Condition', 'Event', 'Barrier')):
        assert type(thing) is getattr(synchronize, name)
        assert isinstance(thing, getattr(stock, name))
    assert isinstance(things[6], threading.Barrier) and isinstance(things[3], synchronize.Semaphore)


def test_a_child_has_the_same_ones(ctx):
    things = make_all(ctx)
    lock, _, _, bounded, _, event, _ = things
    lock.acquire()
    ours, theirs = stock.context._default_context.get_context(ctx.get_start_method()).Pipe(False)
    child = ctx.Process(target=look, args=(things, theirs))
    child.start()
    assert ours.recv() == ['<Lock(owner=SomeOtherProcess)>', '<RLock(None, 0)>', '<Semaphore(value=3)>',
                           '<BoundedSemaphore(value=4, maxvalue=4)>', '<Condition(<Lock(owner=None)>, 0)>', False, 2, 7]
    child.join()
    assert child.exitcode == 0 and event.is_set() and bounded.get_value() == 3 and repr(lock) == '<Lock(owner=None)>'
    assert lock.acquire(False)


def test_pickling_is_for_children_only():
    for thing in make_all(ginnel.get_context('spawn')):
        with pytest.raises(RuntimeError, match='through inheritance'):
            pickle.dumps(thing)
        with pytest.raises(RuntimeError):
            copy.copy(thing)


def test_locks_complain_as_the_standard_ones():
    lock, rlock, semaphore, bounded, *_ = make_all(ginnel)
    for thing in (lock, bounded):
        with pytest.raises(ValueError):
            thing.release()
    with pytest.raises(AssertionError):
        rlock.release()
    semaphore.release()
    for bad in (lambda: lock.acquire(True, 'soon'), lambda: lock.acquire(1, 2, 3), lambda: ginnel.Semaphore('x')):
        with lock, pytest.raises(TypeError):
            bad()
    with pytest.raises(OSError):
        ginnel.Semaphore(-1)
    with pytest.raises(ValueError):
        ginnel.Barrier(0)


def test_timeouts_begin_with_the_call_and_may_be_negative():
    lock, event, condition = ginnel.Lock(), ginnel.Event(), ginnel.Condition()
    for wait in (lambda timeout: lock.acquire(True, timeout), event.wait, condition.wait):
        with lock, condition:
            begin = time.monotonic()
            assert not wait(-1) and not wait(0)
            assert time.monotonic() - begin < 0.1
            assert not wait(0.12)
            assert 0.12 <= time.monotonic() - begin < 5


def test_any_thread_may_release_a_lock_and_acquiring_twice_blocks(ctx):
    lock = ctx.Lock()
    assert lock.acquire()
    assert not lock.acquire(timeout=0.06)
    thread = threading.Timer(0.01, lock.release)
    thread.start()
    assert lock.acquire(timeout=LONG)
    thread.join()
    child = ctx.Process(target=release_it, args=(lock,))
    child.start()
    assert lock.acquire(timeout=LONG)
    child.join()
    assert lock.previous_owner_died is None


@pytest.mark.parametrize('kind', ['Lock', 'RLock'])
def test_a_lock_whose_holder_was_killed_comes_free_and_says_so(ctx, kind):
    lock, held = getattr(ctx, kind)(), ctx.Event()
    child = ctx.Process(target=hold, args=(lock, held))
    child.start()
    assert held.wait(LONG) and not lock.acquire(False)
    kill(child)
    assert lock.acquire(timeout=LONG)
    assert lock.previous_owner_died[0] == child.pid
    lock.release()
    with lock:
        assert lock.previous_owner_died is None


def test_who_waits_for_a_lock_gets_it_when_its_holder_is_killed(ctx):
    lock, held = ctx.Lock(), ctx.Event()
    child = ctx.Process(target=hold, args=(lock, held))
    child.start()
    held.wait(LONG)
    killer = threading.Timer(0.05, os.kill, (child.pid, signal.SIGKILL))
    killer.start()
    with lock:
        assert lock.previous_owner_died[0] == child.pid
    killer.join()
    child.join()


def test_so_many_go_on_as_were_notified():
    condition, woken = ginnel.Condition(), []

    def wait(number):
        with condition:
            assert condition.wait(LONG)
            woken.append(number)

    threads = []
    for number in range(6):
        threads.append(threading.Thread(target=wait, args=(number,)))
        threads[-1].start()
        until(lambda: condition._sleeping_count.get_value() == number + 1)
    for n, expected in ((1, [0]), (0, []), (2, [1, 2]), (9, [3, 4, 5]), (1, [])):
        before = len(woken)
        with condition:
            condition.notify(n)
        until(lambda: len(woken) >= before + len(expected))
        assert sorted(woken[before:]) == expected
    for thread in threads:
        thread.join()


@pytest.mark.parametrize('lock', ['Lock', 'RLock', 'BoundedSemaphore', None])
def test_a_wait_gives_back_every_level_of_the_lock(lock):
    condition = ginnel.Condition(lock and getattr(ginnel, lock)())

    def notify():
        with condition:
            condition.notify_all()

    with pytest.raises(AssertionError):
        condition.wait()
    with pytest.raises(AssertionError):
        condition.notify()
    depth = 3 if lock in (None, 'RLock') else 1
    for _ in range(depth):
        condition.acquire()
    thread = threading.Thread(target=notify)
    thread.start()
    assert condition.wait(LONG)
    for _ in range(depth):
        condition.release()
    thread.join()
    assert condition._lock._semlock._get_value() == 1


def test_a_stock_lock_serves_as_well():
    condition = ginnel.Condition(stock.context._default_context.RLock())
    with condition:
        assert not condition.wait(0.01)
        assert not condition.wait_for(lambda: False, 0.01)
        assert condition.wait_for(lambda: 7) == 7


def test_killed_waiters_block_nobody_and_take_no_notification_with_them(ctx):
    condition = ctx.Condition()
    ours, theirs = stock.context._default_context.get_context(ctx.get_start_method()).Pipe(False)
    dead = ctx.Process(target=stand, args=(condition,))
    dead.start()
    until(lambda: condition._sleeping_count.get_value() == 1)
    lives = ctx.Process(target=stand, args=(condition, theirs))
    lives.start()
    until(lambda: condition._sleeping_count.get_value() == 2)
    kill(dead)
    with condition:
        condition.notify()
    assert ours.poll(LONG) and ours.recv() is True
    lives.join()
    with condition:
        condition.notify_all()
    assert condition._sleeping_count.get_value() == 0


def test_an_event_is_seen_even_if_it_is_cleared_at_once(ctx):
    event, seen = ctx.Event(), []
    threads = [threading.Thread(target=lambda: seen.append(event.wait(LONG))) for _ in range(3)]
    for thread in threads:
        thread.start()
    waiting = ctx.Process(target=event.wait)
    waiting.start()
    while any(thread.is_alive() for thread in threads):
        event.set()
        event.clear()
        time.sleep(0.001)
    assert seen == [True] * 3 and not event.is_set()
    kill(waiting)
    event.set()
    assert event.wait()


def test_barriers_count_and_act_and_give_each_a_number(ctx):
    acted = []
    barrier = ctx.Barrier(3, action=None)
    ours, theirs = stock.context._default_context.get_context(ctx.get_start_method()).Pipe(False)
    children = [ctx.Process(target=come, args=(barrier, theirs)) for _ in range(2)]
    for child in children:
        child.start()
    until(lambda: barrier.n_waiting == 2)
    barrier._action = lambda: acted.append(barrier.n_waiting)
    numbers = [barrier.wait(LONG)] + [ours.recv() for _ in children]
    assert sorted(numbers) == [0, 1, 2] and barrier.n_waiting == 0 and not barrier.broken
    for child in children:
        child.join()


def test_an_action_that_fails_breaks_the_barrier_and_raises_where_it_ran():
    def fail():
        raise KeyError('action')

    barrier = ginnel.Barrier(1, fail)
    with pytest.raises(KeyError):
        barrier.wait()
    assert barrier.broken
    with pytest.raises(threading.BrokenBarrierError):
        barrier.wait()
    barrier.reset()
    barrier._action = None
    assert barrier.wait() == 0
    assert not barrier.broken


@pytest.mark.parametrize('how', ['kill', 'abort', 'timeout', 'reset'])
def test_a_barrier_is_broken_for_all(ctx, how):
    barrier = ctx.Barrier(4)
    ours, theirs = stock.context._default_context.get_context(ctx.get_start_method()).Pipe(False)
    children = [ctx.Process(target=come, args=(barrier, theirs)) for _ in range(2)]
    for child in children:
        child.start()
    until(lambda: barrier.n_waiting == 2)
    left = 2
    if how == 'kill':
        kill(children[0])
        left = 1
    elif how == 'timeout':
        with pytest.raises(threading.BrokenBarrierError):
            barrier.wait(0.06)
    else:
        getattr(barrier, how)()
    assert [ours.recv() for _ in range(left)] == ['broken'] * left
    assert barrier.broken == (how != 'reset')
    for child in children:
        child.join()



def test_a_handler_ends_every_wait():
    class Stopped(Exception):
        pass

    def stop(number, frame):
        raise Stopped

    lock, semaphore, event, condition = ginnel.Lock(), ginnel.Semaphore(0), ginnel.Event(), ginnel.Condition()
    barrier = ginnel.Barrier(2)
    lock.acquire()
    before = signal.signal(signal.SIGUSR1, stop)
    try:
        for wait in (lock.acquire, semaphore.acquire, event.wait, condition.wait, barrier.wait):
            thread = threading.Timer(0.02, os.kill, (os.getpid(), signal.SIGUSR1))
            with condition:
                with pytest.raises(Stopped):
                    thread.start()
                    wait()
            thread.join()
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert barrier.broken and condition._sleeping_count.get_value() == 0


def count_up(lock, total, rounds):
    for _ in range(rounds):
        with lock:
            total.value += 1


@pytest.mark.parametrize('kind', ['Lock', 'RLock', 'BoundedSemaphore'])
def test_one_at_a_time(ctx, kind):
    lock, total = getattr(ctx, kind)(), ctx.Value('i', 0, lock=False)
    children = [ctx.Process(target=count_up, args=(lock, total, 3000)) for _ in range(3)]
    for child in children:
        child.start()
    count_up(lock, total, 3000)
    for child in children:
        child.join()
    assert total.value == 12000


def let_go(lock, held):
    lock.acquire()
    held.set()
    time.sleep(0.05)
    lock.release()


@pytest.mark.parametrize('kind', ['Lock', 'RLock', 'BoundedSemaphore'])
def test_coroutines_wait_for_what_another_process_holds(ctx, kind):
    async def main(lock):
        assert not await lock.aacquire(0.01)
        async with lock:
            assert lock._get_value() == 0
        with lock:
            if kind == 'Lock':
                assert not await lock.aacquire(0.01)
                asyncio.get_running_loop().call_later(0.01, lock.release)
                assert await lock.aacquire(LONG)

    lock, held = getattr(ctx, kind)(), ctx.Event()
    child = ctx.Process(target=let_go, args=(lock, held))
    child.start()
    held.wait(LONG)
    asyncio.run(main(lock))
    child.join()
    assert lock.acquire(False)


def test_things_can_be_waited_for_together(ctx):
    event, lock, held = ctx.Event(), ctx.Lock(), ctx.Event()
    child = ctx.Process(target=let_go, args=(lock, held))
    child.start()
    held.wait(LONG)
    assert ginnel.connection.wait([event], 0.01) == []
    assert ginnel.connection.wait([event, lock], LONG) == [lock]
    poller = select.poll()
    poller.register(event, select.POLLIN)
    assert poller.poll(1) == []
    event.set()
    assert len(poller.poll(LONG * 1000)) == 1
    event.clear()
    assert poller.poll(1) == []
    assert ginnel.connection.wait([event, child.sentinel], LONG) == [child.sentinel]
    child.join()


def test_they_come_and_go_without_a_trace():
    def descriptors():
        return len(os.listdir('/proc/self/fd'))

    make_all(ginnel)
    before = descriptors(), set(os.listdir('/dev/shm')), threading.active_count()
    for _ in range(300):
        make_all(ginnel)
    assert (descriptors(), set(os.listdir('/dev/shm')), threading.active_count()) == before
