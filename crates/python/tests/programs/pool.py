"""A pool in all its manners.

map [0, 1, 4, 9, 16]
starmap [3, 7]
imap [0, 1, 4]
imap_unordered [0, 1, 4]
apply 81
apply_async 100
called back with 121
what a task raises, its caller gets: -1 is negative
two workers did it: True
"""
import os
import sys

import ginnel as multiprocessing


def square(number):
    if number < 0:
        raise ValueError(f'{number} is negative')
    return number * number


def add(one, other):
    return one + other


def who(_):
    return os.getpid()


def main():
    called = []
    with multiprocessing.Pool(2) as pool:
        print('map', pool.map(square, range(5)))
        print('starmap', pool.starmap(add, [(1, 2), (3, 4)]))
        print('imap', list(pool.imap(square, range(3), chunksize=2)))
        print('imap_unordered', sorted(pool.imap_unordered(square, range(3))))
        print('apply', pool.apply(square, (9,)))
        print('apply_async', pool.apply_async(square, (10,)).get(timeout=30))
        pool.apply_async(square, (11,), callback=called.append).wait()
        pool.close()
        workers = {worker.pid for worker in multiprocessing.active_children()}
        pool.join()
    print('called back with', *called)
    with multiprocessing.Pool(2) as pool:
        try:
            pool.map(square, [1, -1])
        except ValueError as error:
            print('what a task raises, its caller gets:', error)
        used = set(pool.map(who, range(20), chunksize=1))
    print('two workers did it:', 1 <= len(used) <= 2 and os.getpid() not in used | workers)


if __name__ == '__main__':
    multiprocessing.set_start_method(sys.argv[1])
    main()
