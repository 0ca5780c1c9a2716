"""A counter under a lock; the starter does not wait for its children itself.

in the end: 150
"""
import atexit
import sys

import ginnel as multiprocessing


def count(counter, lock, times):
    for _ in range(times):
        lock.acquire()
        try:
            counter.value += 1
        finally:
            lock.release()


def check(children, counter):
    for child in children:
        child.join()
    print('in the end:', counter.value)


if __name__ == '__main__':
    multiprocessing.set_start_method(sys.argv[1])
    lock, counter = multiprocessing.Lock(), multiprocessing.RawValue('i', 0)
    children = [multiprocessing.Process(target=count, args=(counter, lock, 50)) for _ in range(3)]
    for child in children:
        child.start()
    atexit.register(check, children, counter)
