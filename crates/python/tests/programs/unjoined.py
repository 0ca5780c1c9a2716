"""Children that nobody waits for by hand still get the lock they were given.

done 1
done 1
done 1
"""
import os
import sys

import ginnel as multiprocessing


def work(lock):
    with lock:
        os.write(1, b'done 1\n')


if __name__ == '__main__':
    multiprocessing.set_start_method(sys.argv[1])
    for _ in range(3):
        multiprocessing.Process(target=work, args=(multiprocessing.Lock(),)).start()
