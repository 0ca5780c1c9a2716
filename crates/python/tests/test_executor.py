"""``concurrent.futures.ProcessPoolExecutor`` on a context of ours."""

import os
import signal
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool

import pytest

LONG = 20


def square(number):
    return number * number


def fail(text):
    raise KeyError(text)


def die():
    os.kill(os.getpid(), signal.SIGKILL)


_given = None


def begin(given):
    global _given
    _given = given


def given():
    return _given


def test_it_calculates(ctx):
    with ProcessPoolExecutor(2, mp_context=ctx) as executor:
        assert executor.submit(square, 7).result(LONG) == 49
        assert list(executor.map(square, range(50), timeout=LONG)) == [n * n for n in range(50)]
        assert list(executor.map(square, range(50), chunksize=7, timeout=LONG)) == [n * n for n in range(50)]
        futures = [executor.submit(square, n) for n in range(20)]
        assert sorted(done.result() for done in as_completed(futures, LONG)) == [n * n for n in range(20)]


def test_it_tells_what_failed(ctx):
    with ProcessPoolExecutor(1, mp_context=ctx) as executor:
        error = executor.submit(fail, 'here').exception(LONG)
        assert type(error) is KeyError and error.args == ('here',)
        assert "raise KeyError(text)" in str(error.__cause__)
        assert executor.submit(lambda: None).exception(LONG) is not None
        assert executor.submit(square, 3).result(LONG) == 9


def test_an_initializer_runs(ctx):
    with ProcessPoolExecutor(1, mp_context=ctx, initializer=begin, initargs=('so it is',)) as executor:
        assert executor.submit(given).result(LONG) == 'so it is'


def test_large_things_travel(ctx):
    with ProcessPoolExecutor(1, mp_context=ctx) as executor:
        assert executor.submit(bytes.upper, b'a' * 1_000_000).result(LONG) == b'A' * 1_000_000


def test_a_killed_worker_is_noticed(ctx):
    with ProcessPoolExecutor(2, mp_context=ctx) as executor:
        with pytest.raises(BrokenProcessPool):
            executor.submit(die).result(LONG)
