"""Managers: containers with the manners of Python's own, nested, whatever becomes of a process."""

import array
import copy
import enum
import os
import pickle
import random
import signal
import threading
import uuid
from decimal import Decimal
from fractions import Fraction

import multiprocessing.managers as stock
import pytest

import ginnel
from ginnel.managers import SharedDict, SharedList, SyncManager


class Color(enum.IntEnum):
    RED = 1


class Word(str):
    pass


@pytest.fixture
def manager():
    with ginnel.Manager() as manager:
        yield manager


# Keys

EQUAL = [
    (1, 1.0, True, Decimal(1), Fraction(1), Color.RED),
    (0, -0.0, False),
    ('a', Word('a')),
    ((1, 'a'), (1.0, Word('a')), (True, 'a')),
    (frozenset((1, 2)), frozenset((2.0, True))),
    (2**63, float(2**63)),
    (10**30, Decimal(10**30)),
]
OTHERS = [None, 0.5, float('inf'), -2**63, 2**63 - 1, 'x' * 300, '\ud800', b'a', (), (1, (2, (3,))),
          uuid.UUID(int=7), Decimal('1.5'), int, 1j]


@pytest.mark.parametrize('keys', EQUAL, ids=str)
def test_keys_that_are_equal_are_one(keys):
    for first in keys:
        ours, theirs = SharedDict(), {}
        for n, key in enumerate((first, *keys)):
            ours[key] = theirs[key] = n
        assert ours.copy() == theirs
        # As with a dict the object stays that was first put in.
        assert [type(key) for key in ours] == [type(first)]
        assert all(ours[key] == theirs[key] and key in ours for key in keys)


def test_keys_are_what_they_were():
    ours = SharedDict((key, n) for n, key in enumerate(OTHERS))
    assert ours.keys() == OTHERS
    assert [type(key) for key in ours] == [type(key) for key in OTHERS]
    for n, key in enumerate(OTHERS):
        assert ours.pop(key) == n
    assert not ours


@pytest.mark.parametrize('key', [[], {}, (1, [2]), {1}])
def test_what_has_no_hash_is_no_key(key):
    ours = SharedDict()
    for use in (ours.__getitem__, ours.get, ours.__contains__, ours.pop, ours.setdefault):
        with pytest.raises(TypeError, match='unhashable'):
            use(key)


# Dicts

def test_a_dict_does_what_a_dict_does():
    """Thousands of operations by chance, on ours and on Python's own."""
    chance = random.Random(9)
    ours, theirs = SharedDict(), {}
    values = [0, 'text', [1, 2], {'a': 1}, None, b'x' * 3000, (1, 2.5), {1, 2}]
    for _ in range(4000):
        key, value = chance.randrange(20), chance.choice(values)
        kind = chance.randrange(8)
        if kind <= 2:
            ours[key] = theirs[key] = value
        elif kind == 3:
            assert ours.pop(key, 'none') == theirs.pop(key, 'none')
        elif kind == 4:
            assert ours.setdefault(key, value) == theirs.setdefault(key, value)
        elif kind == 5 and theirs:
            assert ours.popitem() == theirs.popitem()
        elif kind == 6:
            assert ours.get(key) == theirs.get(key) and (key in ours) == (key in theirs)
        elif kind == 7 and chance.random() < 0.1:
            ours |= {key: value, 'new': 1}
            theirs |= {key: value, 'new': 1}
        assert len(ours) == len(theirs)
        if not _ % 50:
            assert ours.items() == list(theirs.items())
    assert (ours.keys(), ours.values()) == (list(theirs), list(theirs.values()))
    assert ours.copy() == theirs and list(reversed(ours)) == list(reversed(theirs))
    ours.clear()
    assert not ours and ours.items() == []


def test_complaints_of_a_dict():
    ours = SharedDict(a=1)
    uses = [lambda: ours['b'], lambda: ours.pop('b'), lambda: ours.__delitem__('b'), SharedDict().popitem]
    for use in uses:
        with pytest.raises(KeyError):
            use()
    with pytest.raises(ValueError, match='length 1; 2 is required'):
        ours.update([(1, 2), 'x'])
    with pytest.raises(TypeError):
        ours.update(1)
    with pytest.raises((pickle.PicklingError, AttributeError, TypeError)):
        ours['f'] = lambda: None
    assert ours.copy() == {'a': 1}
    keys = iter(ours)
    ours['c'] = 2
    with pytest.raises(RuntimeError, match='changed size'):
        next(keys)


def test_merging_dicts():
    ours = SharedDict({'a': 1}, b=2)
    assert ours | {'b': 3} == {'a': 1, 'b': 3}
    assert {'b': 3} | ours == {'b': 2, 'a': 1}
    assert type(ours | SharedDict(c=1)) is dict
    ours.update(SharedDict(c=4), d=5)
    assert ours.copy() == {'a': 1, 'b': 2, 'c': 4, 'd': 5}


# Lists

def test_a_list_does_what_a_list_does():
    chance = random.Random(10)
    ours, theirs = SharedList(range(5)), list(range(5))

    def both(use):
        outcomes = []
        for each in (ours, theirs):
            try:
                outcomes.append(use(each))
            except (IndexError, ValueError) as error:
                outcomes.append((type(error), str(error)))
        assert outcomes[0] == outcomes[1]

    def place():
        return chance.randrange(-8, 8)

    def part():
        return slice(*(chance.choice([None, place()]) for _ in 'ab'), chance.choice([None, 1, 2, -1]))

    for _ in range(2500):
        where, what, value = place(), part(), chance.choice([3, 'x', [1], 2.5, 'y' * 100])
        both(chance.choice([
            lambda it: it.append(value), lambda it: it.insert(where, value), lambda it: it.pop(where),
            lambda it: it.pop(), lambda it: it[where], lambda it: it[what],
            lambda it: it.__setitem__(where, value), lambda it: it.__setitem__(what, [1, 2]),
            lambda it: it.__delitem__(where), lambda it: it.__delitem__(what),
            lambda it: it.extend([value, 5]), lambda it: it.remove(value), lambda it: it.count(value),
            lambda it: it.index(value), lambda it: it.reverse(), lambda it: value in it, lambda it: it + [1],
            lambda it: it * 2, lambda it: it.sort(key=str), lambda it: it.sort(key=str, reverse=True)]))
        if len(theirs) > 40:
            both(lambda it: it.clear())
        assert len(ours) == len(theirs)
        assert ours[:] == theirs
    ours *= 3
    theirs *= 3
    ours += (7,)
    theirs += (7,)
    assert list(ours) == theirs and list(reversed(ours)) == theirs[::-1] and 2 * ours == 2 * theirs


def test_complaints_of_a_list():
    ours = SharedList([1])
    for use in (lambda: ours['a'], lambda: ours.__setitem__(1.5, 1), lambda: SharedList(5), lambda: ours + 5):
        with pytest.raises(TypeError):
            use()
    with pytest.raises(IndexError):
        ours[10**30]
    with pytest.raises((pickle.PicklingError, AttributeError, TypeError)):
        ours.append(lambda: None)
    assert ours[:] == [1]


# What managers make

def test_they_look_like_the_standard_librarys(manager):
    made = {'dict': manager.dict(a=1), 'list': manager.list([1, 'b']),
            'Namespace': manager.Namespace(x=1, _y=2), 'Value': manager.Value('i', 4),
            'Array': manager.Array('d', [1.5])}
    texts = ["{'a': 1}", "[1, 'b']", 'Namespace(x=1)', "Value('i', 4)", "array('d', [1.5])"]
    for (name, proxy), text in zip(made.items(), texts):
        assert str(proxy) == text
        assert repr(proxy) == f'<{name}Proxy object, typeid {name!r} at {id(proxy):#x}>'.replace(
            'dictP', 'DictP').replace('listP', 'ListP')
        assert isinstance(proxy, getattr(stock, type(proxy).__name__)) and isinstance(proxy, stock.BaseProxy)
    assert copy.deepcopy(made['list']) == [1, 'b'] == made['list']._callmethod('copy')
    assert isinstance(manager, stock.SyncManager)
    assert not ginnel.active_children()


def test_namespaces_values_arrays(manager):
    names, value, numbers = manager.Namespace(), manager.Value('i', 1), manager.Array('i', range(4))
    names.x = [1]
    names._mine = 2
    assert names.x == [1] and hasattr(names, 'x') and not hasattr(names, 'y')
    del names.x
    for use in (lambda: names.x, lambda: delattr(names, 'x')):
        with pytest.raises(AttributeError, match="'x'"):
            use()
    value.value += 4
    value.set(value.get() * 2)
    assert value.value == 10
    numbers[1] = 7
    numbers[2:] = array.array('i', [9])
    assert list(numbers) == [0, 7, 9] and numbers[1:] == array.array('i', [7, 9]) and len(numbers) == 3
    for wrong in ('x', 2**40, 1.5):
        with pytest.raises((TypeError, OverflowError)):
            numbers[0] = wrong


def test_containers_in_containers(manager):
    inner = manager.list([1])
    outer = manager.dict(inner=inner, plain=[2])
    outer['inner'].append(2)
    assert inner[:] == [1, 2]
    del inner
    assert outer['inner'][:] == [1, 2] and type(outer['plain']) is list
    rows = manager.list([manager.list([n]) for n in range(3)])
    rows.sort(key=lambda row: -row[0])
    rows[0].append('x')
    assert [row[:] for row in rows] == [[2, 'x'], [1], [0]]
    # Into itself, which keeps nothing.
    rows.append(rows)
    assert len(rows[-1]) == len(rows[-1][-1]) == 4
    outer['lock'], outer['queue'] = manager.Lock(), manager.Queue()
    with outer['lock']:
        outer['queue'].put('y')
    assert outer['queue'].get() == 'y'


def test_a_manager_that_has_shut_down():
    with ginnel.Manager() as manager:
        made = [manager.dict(a=1), manager.list([1]), manager.Namespace(a=1), manager.Queue(), manager.Lock()]
    uses = [lambda: made[0]['a'], lambda: made[1][0], lambda: made[2].a, lambda: made[3].put(1),
            lambda: made[4].acquire()]
    for use in uses:
        with pytest.raises(OSError, match='shut down'):
            use()
    with pytest.raises(AssertionError):
        manager.dict()
    with pytest.raises(ginnel.ProcessError):
        manager.start()


def test_manners_of_threading(manager):
    lock, rlock, condition = manager.Lock(), manager.RLock(), manager.Condition()
    bounded = manager.BoundedSemaphore(1)
    for use in (lock.release, rlock.release, condition.notify, lambda: condition.wait(0)):
        with pytest.raises(RuntimeError):
            use()
    with pytest.raises(ValueError):
        bounded.release()
    assert lock.acquire(blocking=False) and not lock.acquire(True, 0.01) and lock.release() is None
    event, barrier = manager.Event(), manager.Barrier(1)
    event.set()
    assert event.wait(0) and barrier.wait() == 0
    assert (barrier.parties, barrier.n_waiting, barrier.broken) == (1, 0, False)


# Other processes

def use_all(things):
    names, rows, space, value, queue, lock, event = things
    with lock:
        names['child'] = os.getpid()
        rows.append('child')
        space.child = True
        value.value += 1
    rows.append(SharedList(['from a child']))
    queue.put(names)
    event.set()


def test_in_a_child(ctx):
    with ctx.Manager() as manager:
        things = (manager.dict(), manager.list(), manager.Namespace(), manager.Value('i', 1), manager.Queue(),
                  manager.Lock(), manager.Event())
        child = ctx.Process(target=use_all, args=(things,))
        child.start()
        assert things[6].wait(60)
        child.join()
        names, rows, space, value, queue, _, _ = things
        assert (names['child'], space.child, value.value, rows[0]) == (child.pid, True, 2, 'child')
        # The child that made it is gone.
        assert rows[1][:] == ['from a child']
        assert queue.get()['child'] == child.pid


def count(ours, rows, times):
    for n in range(times):
        ours.increment('n')
        ours[(os.getpid(), n)] = n
        rows.append(n)


def test_nothing_is_lost(ctx):
    ours, rows = SharedDict(), SharedList()
    children = [ctx.Process(target=count, args=(ours, rows, 300)) for _ in range(3)]
    for child in children:
        child.start()
    for child in children:
        child.join()
    assert ours['n'] == len(rows) == 900 and len(ours) == 901
    mine = [key for key in ours if key != 'n' and key[0] == children[0].pid]
    assert mine == [(children[0].pid, n) for n in range(300)]


def test_threads():
    ours, rows = SharedDict(), SharedList()
    threads = [threading.Thread(target=count, args=(ours, rows, 300)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ours['n'] == len(rows) == 1200


def change_for_ever(ours, rows, started):
    while True:
        ours.increment('n')
        ours['s'] = 'x' * random.randrange(2000)
        rows.append(1)
        rows.sort()
        if len(rows) > 50:
            del rows[10:]
        started.set()


def test_killed_writers():
    """Whatever a killed process was at: the next finds everything whole, and no lock shut."""
    ours, rows = SharedDict(), SharedList()
    for _ in range(15):
        started = ginnel.Event()
        child = ginnel.Process(target=change_for_ever, args=(ours, rows, started))
        child.start()
        assert started.wait(60)
        os.kill(child.pid, signal.SIGKILL)
        child.join()
        before = ours['n']
        assert ours.increment('n') == before + 1
        rows.append(0)
        assert set(ours['s']) <= {'x'} and set(rows[:]) <= {0, 1}


def test_any_pickle_will_do(manager):
    ours = manager.dict(a=1)
    again = pickle.loads(pickle.dumps(ours))
    again['b'] = 2
    assert ours.copy() == {'a': 1, 'b': 2}
    queue = pickle.loads(pickle.dumps(manager.Queue()))
    queue.put(1)
    assert queue.get() == 1


# Servers

class Counter:
    def __init__(self):
        self.n = 0

    def add(self, n):
        self.n += n
        return self.n


class Registered(SyncManager):
    pass


Registered.register('Counter', Counter)


def test_types_of_a_program_have_a_server():
    with Registered() as manager:
        counter = manager.Counter()
        assert counter.add(2) == 2 == counter.add(0)
        assert manager.dict(a=1)['a'] == 1
        assert len(ginnel.active_children()) == 1
        assert manager.address
    with pytest.raises(Exception):
        counter.add(1)


def test_a_pool_of_a_manager(manager):
    with manager.Pool(1) as pool:
        assert pool.map(abs, [-1, 2]) == [1, 2]


def test_a_client_uses_the_server_it_has_connected_to():
    with SyncManager(address=('127.0.0.1', 0), authkey=b'key') as server:
        client = SyncManager(address=server.address, authkey=b'key')
        client.connect()
        remote = client.dict(a=1)
        assert remote.copy() == {'a': 1} and not isinstance(remote, SharedDict.__bases__[0])
        del remote
