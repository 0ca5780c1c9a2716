"""``python -m ginnel bench [--json] [--only TEXT] [--passes N]``: this package beside the others, on this machine.

Every row measures the same work with ``multiprocessing``, with ours, and with what else is installed (``faster_fifo``,
``UltraDict``), one after the other in each pass, so that whatever the machine does meanwhile is in all of them. What is
given is the median over the passes, in microseconds for one operation. Rows with arrays need numpy.

``load`` is the number of runnable processes at the end; with more than there are processors the figures say little.
"""

import argparse
import gc
import json
import multiprocessing
import os
import platform
import statistics
import sys
import time

import ginnel

MESSAGE = [66, None, 'hello word']
_LIMIT = 60


def _installed(name):
    try:
        return __import__(name)
    except ImportError:
        return None


def _median(measured):
    return {name: statistics.median(values) for name, values in measured.items()}


def _timed(count, run):
    gc.collect()
    begin = time.perf_counter()
    run()
    return (time.perf_counter() - begin) / count * 1e6


# Queues of the same interface. Those of faster_fifo wait 10 s unless they are told otherwise.


def _queues(large=False):
    queues = {
        'multiprocessing': lambda ctx: multiprocessing.get_context(ctx).Queue(),
        'ginnel': lambda ctx: ginnel.get_context(ctx).Queue(),
    }
    faster_fifo = _installed('faster_fifo')
    if faster_fifo is not None:
        size = 64 << 20 if large else 1 << 20
        queues['faster_fifo'] = lambda ctx: faster_fifo.Queue(max_size_bytes=size)
    return queues


def _close(queue):
    close = getattr(queue, 'close', None)
    if close is not None:
        close()
    if hasattr(queue, 'join_thread'):
        queue.join_thread()


def put_get(name, make):
    """put and get in one process."""
    queue = make('fork')
    put, get = queue.put, queue.get

    def run():
        for _ in range(count):
            put(MESSAGE)
            get()

    count = 100
    run()
    count = 20_000 if name == 'ginnel' else 3_000
    try:
        return _timed(count, run)
    finally:
        _close(queue)


def _send(queue, message, count):
    for _ in range(count):
        queue.put(message, True, _LIMIT)
    _close(queue)


def _stream(queue, message, count):
    """Messages from another process, from the first that arrives."""
    process = multiprocessing.get_context('fork').Process(target=_send, args=(queue, message, count + 1))
    process.start()
    get = queue.get
    get(True, _LIMIT)

    def run():
        for _ in range(count):
            get(True, _LIMIT)

    try:
        return _timed(count, run)
    finally:
        process.join()
        _close(queue)


def stream(name, make):
    """one process puts, another gets."""
    return _stream(make('fork'), MESSAGE, 100_000 if name == 'ginnel' else 20_000)


def stream_arrays(name, make):
    """1 MiB arrays from one process to another."""
    import numpy
    return _stream(make('fork'), numpy.zeros(1 << 17), 400 if name == 'ginnel' else 200)


def _echo(source, target, count):
    for _ in range(count):
        target.put(source.get(True, _LIMIT), True, _LIMIT)
    _close(target)


def round_trip(name, make):
    """there and back through two queues, both sides waiting."""
    there, back = make('fork'), make('fork')
    count = 2_000
    process = multiprocessing.get_context('fork').Process(target=_echo, args=(there, back, count + 10))
    process.start()

    def once():
        there.put(1, True, _LIMIT)
        back.get(True, _LIMIT)

    def run():
        for _ in range(count):
            once()

    for _ in range(10):
        once()
    try:
        return _timed(count, run)
    finally:
        process.join()
        _close(there)
        _close(back)


def _connections():
    return {'multiprocessing': multiprocessing.Pipe, 'ginnel': ginnel.Pipe}


def _echo_connection(connection, count):
    for _ in range(count):
        connection.send(connection.recv())


def pipe_round_trip(name, make):
    """there and back through a pipe, both sides waiting."""
    ours, theirs = make()
    count = 3_000
    process = multiprocessing.get_context('fork').Process(target=_echo_connection, args=(theirs, count + 10))
    process.start()

    def run(times=count):
        for _ in range(times):
            ours.send(1)
            ours.recv()

    run(10)
    try:
        return _timed(count, run)
    finally:
        process.join()
        ours.close()
        theirs.close()


def _locks():
    return {'multiprocessing': multiprocessing.Lock, 'ginnel': ginnel.Lock}


def lock(name, make):
    """acquire and release a free lock."""
    made = make()
    acquire, release = made.acquire, made.release
    count = 50_000

    def run():
        for _ in range(count):
            acquire()
            release()

    return _timed(count, run)


def lock_creation(name, make):
    """make a lock."""
    count = 500

    def run():
        for _ in range(count):
            make()

    return _timed(count, run)


class _Dict:
    """A dict of one of the packages, and what ends it."""

    def __init__(self, made, end=lambda: None):
        self.made = made
        self.end = end


def _managed(package):
    manager = package.Manager()
    # The manager lives as long as somebody knows it.
    return _Dict(manager.dict(), lambda: manager.shutdown())


def _ultra():
    made = _installed('UltraDict').UltraDict(shared_lock=True)

    def end():
        made.close()
        made.unlink()

    return _Dict(made, end)


def _dicts():
    dicts = {'multiprocessing': lambda: _managed(multiprocessing), 'ginnel': lambda: _managed(ginnel)}
    if _installed('UltraDict') is not None:
        dicts['UltraDict'] = _ultra
    return dicts


def _with_dict(name, make, use):
    opened = make()
    try:
        shared = opened.made
        for n in range(100):
            shared[f'key {n}'] = n
        count = 2_000 if name == 'multiprocessing' else 20_000
        return _timed(count, lambda: use(shared, count))
    finally:
        opened.end()


def dict_get(name, make):
    """read an item of a shared dict."""
    def use(shared, count):
        for _ in range(count):
            shared['key 50']

    return _with_dict(name, make, use)


def dict_set(name, make):
    """write an item of a shared dict."""
    def use(shared, count):
        for n in range(count):
            shared['key 50'] = n

    return _with_dict(name, make, use)


def _pools():
    return {'multiprocessing': multiprocessing.Pool, 'ginnel': ginnel.Pool}


def _with_pool(make, count, use):
    with make(2) as pool:
        # Both workers are there.
        pool.map(abs, range(200), chunksize=1)
        measured = _timed(count, lambda: use(pool))
    pool.join()
    return measured


def pool_map(name, make):
    """a trivial task of map, chunksize 1."""
    return _with_pool(make, 5_000, lambda pool: pool.map(abs, range(5_000), chunksize=1))


def pool_apply(name, make):
    """apply a trivial task."""
    def use(pool):
        for n in range(500):
            pool.apply(abs, (n,))

    return _with_pool(make, 500, use)


def pool_async(name, make):
    """a trivial task of many apply_async."""
    def use(pool):
        for result in [pool.apply_async(abs, (n,)) for n in range(3_000)]:
            result.get()

    return _with_pool(make, 3_000, use)


# What is measured, with what, and how many times faster than whom it should be.
ROWS = (
    (put_get, _queues, {'multiprocessing': 30, 'faster_fifo': 10}),
    (stream, _queues, {'multiprocessing': 8, 'faster_fifo': 8}),
    (round_trip, _queues, {}),
    (pipe_round_trip, _connections, {'multiprocessing': 1}),
    (stream_arrays, lambda: _queues(large=True), {'multiprocessing': 10}),
    (lock, _locks, {'multiprocessing': 1}),
    (lock_creation, _locks, {}),
    (dict_get, _dicts, {'multiprocessing': 80, 'UltraDict': 1}),
    (dict_set, _dicts, {'multiprocessing': 80, 'UltraDict': 4}),
    (pool_map, _pools, {'multiprocessing': 4}),
    (pool_apply, _pools, {'multiprocessing': 2}),
    (pool_async, _pools, {}),
)


def measure(row, makers, passes):
    """Microseconds for one operation, by package: the median of ``passes``."""
    measured = {name: [] for name in makers}
    for number in range(passes):
        # In turns, and not always the same one first.
        names = list(makers)
        for name in names if number % 2 == 0 else reversed(names):
            measured[name].append(row(name, makers[name]))
    return _median(measured)


def run(only='', passes=5, report=lambda row: None):
    """Measures all rows whose names contain ``only``; gives them as dicts, and each to ``report`` when it is there."""
    rows = []
    for row, kinds, goals in ROWS:
        if only not in row.__name__:
            continue
        if row is stream_arrays and _installed('numpy') is None:
            continue
        figures = measure(row, kinds(), passes)
        ratios = {name: figures[name] / figures['ginnel'] for name in figures if name != 'ginnel'}
        rows.append({
            'name': row.__name__,
            'what': row.__doc__.rstrip('.'),
            'us': {name: round(value, 3) for name, value in figures.items()},
            'times_faster_than': {name: round(ratio, 2) for name, ratio in ratios.items()},
            'goals': {name: goal for name, goal in goals.items() if name in ratios},
        })
        report(rows[-1])
    return rows


def _print_head():
    print(f'{"one operation, in microseconds":44}{"ginnel":>10}  the others, and how many times ours is faster')


def _print(row):
    others = '   '.join(
        f'{name} {value:.2f} ({row["times_faster_than"][name]:.1f}x)'
        for name, value in row['us'].items() if name != 'ginnel')
    print(f'{row["what"]:44}{row["us"]["ginnel"]:10.3f}  {others}', flush=True)


def main(arguments=None):
    """Prints the table, or (``--json``) the same for programs."""
    parser = argparse.ArgumentParser(prog='python -m ginnel bench', description=__doc__.partition('\n')[0])
    parser.add_argument('--json', action='store_true', help='for programs')
    parser.add_argument('--only', default='', metavar='TEXT', help='the rows with TEXT in their names')
    parser.add_argument('--passes', type=int, default=5, metavar='N', help='the median is over N passes (5)')
    options = parser.parse_args(arguments)
    if options.passes < 1:
        parser.error('at least one pass')
    if not options.json:
        _print_head()
    rows = run(options.only, options.passes, (lambda row: None) if options.json else _print)
    machine = {
        'python': platform.python_version(),
        'processors': len(os.sched_getaffinity(0)),
        'load': round(os.getloadavg()[0], 2),
    }
    if options.json:
        json.dump({'machine': machine, 'passes': options.passes, 'rows': rows}, sys.stdout, indent=1)
        print()
    else:
        print('   '.join(f'{name} {value}' for name, value in machine.items()))
    return 0


if __name__ == '__main__':
    sys.exit(main())
