"""Messages: what is put comes out equal and of the same type, and bytes that are no message are an exception."""

import copyreg
import math
import pickle
import random
import threading

import pytest

from ginnel import _ginnel

dumps, loads = _ginnel._dumps, _ginnel._loads

LEAVES = [
    None, True, False, 0, 1, -1, 127, 128, -2**63, 2**63 - 1, 2**63, -2**100, 0.0, -0.0, 1.5, math.inf, -math.inf, '',
    'word', 'Straße', '\0', '\U0001f600', '\ud800', b'', b'\0\xff', 'x' * 5000, b'y' * 5000, bytearray(b'z'), 3j,
    frozenset({1}), range(3), Ellipsis, int, math.sqrt,
]


def same(one, other):
    """Equal, of the same types all the way down, and dicts in the same order."""
    if type(one) is not type(other):
        return False
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict):
        return same(list(one.items()), list(other.items()))
    if isinstance(one, float):
        return math.copysign(1, one) == math.copysign(1, other) and (one == other or one != one and other != other)
    return one == other


def value(rng, depth):
    kind = rng.randrange(8) if depth else 0
    if kind == 1:
        return [value(rng, depth - 1) for _ in range(rng.randrange(5))]
    if kind == 2:
        return tuple(value(rng, depth - 1) for _ in range(rng.randrange(5)))
    if kind == 3:
        return {rng.choice(['a', 'b', 1, 2.5, None, True, (1, 'c'), b'd']): value(rng, depth - 1)
                for _ in range(rng.randrange(5))}
    return rng.choice(LEAVES)


@pytest.mark.parametrize('leaf', LEAVES, ids=lambda leaf: repr(leaf)[:20])
def test_a_value_alone(leaf):
    assert same(loads(dumps(leaf)), leaf)


def test_random_values_come_out_as_they_went_in():
    rng = random.Random(7)
    for _ in range(5000):
        one = value(rng, rng.randrange(6))
        other = loads(dumps(one))
        assert same(one, other), (one, other)


def test_random_bytes_are_an_exception_or_a_value():
    rng = random.Random(8)
    good = [dumps(value(rng, 4)) for _ in range(300)]
    good = [message for message in good if message[:1] != b'\x80']
    broken = 0
    for _ in range(20000):
        if rng.random() < 0.3:
            message = bytes(rng.randrange(12) for _ in range(rng.randrange(1, 40)))
        else:
            message = bytearray(rng.choice(good))
            for _ in range(rng.randrange(1, 4)):
                message[rng.randrange(len(message))] = rng.randrange(0x40)
            if rng.random() < 0.3:
                del message[rng.randrange(len(message)):]
        try:
            loads(bytes(message))
        except (ValueError, TypeError, EOFError, UnicodeDecodeError):
            broken += 1
    assert broken > 1000


def test_lengths_that_lie_take_no_memory():
    huge = b'\xff\xff\xff\xff\xff\xff\xff\xff\x7f'
    for tag in (5, 6, 7, 8, 9):
        with pytest.raises(ValueError):
            loads(bytes([tag]) + huge)
    with pytest.raises(ValueError):
        loads(b'\x07\x01' * 5000 + b'\x00')
    for empty in (b'', b'\x7e', b'\x7e\0\0\1\0'):
        with pytest.raises(Exception):
            loads(empty)


def test_what_is_no_plain_value_is_a_pickle():
    class Text(str):
        pass

    shared = [1]
    loop = []
    loop.append(loop)
    deep = shallow = []
    for _ in range(12):
        shallow.append([])
        shallow = shallow[0]
    for one in (2**63, {1, 2}, '\ud800', [shared, shared], loop, deep, list(range(100)), 1j):
        assert dumps(one)[:1] == b'\x80'
    assert dumps([1, 'a', {2: (None, b'')}])[:1] != b'\x80'
    one, other = loads(dumps([shared, shared]))
    assert one is other
    loop = loads(dumps(loop))
    assert loop[0] is loop
    with pytest.raises((pickle.PicklingError, AttributeError)):
        dumps(Text('local classes cannot be found'))


class Point:
    def __init__(self, x):
        self.x = x

    def __eq__(self, other):
        return self.x == other.x


def test_reducers_count_whenever_they_are_registered():
    from multiprocessing.reduction import ForkingPickler
    assert loads(dumps(Point(1))) == Point(1)
    copyreg.pickle(Point, lambda point: (Point, (point.x + 10,)))
    try:
        assert loads(dumps(Point(1))).x == 11
        ForkingPickler.register(Point, lambda point: (Point, (point.x + 20,)))
        assert loads(dumps(Point(1))).x == 21
    finally:
        del copyreg.dispatch_table[Point]
        ForkingPickler._extra_reducers.pop(Point, None)
    assert loads(dumps(Point(1))).x == 1


class Nested:
    """Encodes another message while it is encoded, and decodes one while it is decoded."""

    def __init__(self, inner):
        self.inner = inner

    def __getstate__(self):
        return dumps((self.inner, 1j))

    def __setstate__(self, state):
        self.inner = loads(state)[0]


def test_messages_inside_messages():
    one = Nested(Nested(Nested('x' * 1000)))
    assert loads(dumps([one, one]))[1].inner.inner.inner == 'x' * 1000


class Fails:
    def __reduce__(self):
        raise KeyError('no')


def test_after_a_failure_the_next_message_is_whole():
    for _ in range(3):
        with pytest.raises(KeyError):
            dumps([Point(1), Fails()])
        assert loads(dumps([Point(2), 3j])) == [Point(2), 3j]


def test_threads_have_picklers_of_their_own():
    def work():
        for number in range(300):
            assert loads(dumps(Point(number))) == Point(number)
            assert loads(dumps([number, 'x'])) == [number, 'x']

    failed = []
    threads = [threading.Thread(target=lambda: failed.append(1) if work() else None) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
