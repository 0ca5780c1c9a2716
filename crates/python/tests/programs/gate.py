"""Children wait at a gate (an event), then for each other (a barrier).

nobody before the gate opens: True
all three went through together: [0, 1, 2]
one of them was told to tidy up: 1
"""
import sys

import ginnel as multiprocessing


def walk(number, gate, barrier, arrived, told):
    assert gate.wait(30)
    index = barrier.wait(30)
    arrived.put(number)
    if index == 0:
        told.release()


if __name__ == '__main__':
    multiprocessing.set_start_method(sys.argv[1])
    gate, barrier = multiprocessing.Event(), multiprocessing.Barrier(3)
    arrived, told = multiprocessing.SimpleQueue(), multiprocessing.Semaphore(0)
    children = [multiprocessing.Process(target=walk, args=(number, gate, barrier, arrived, told))
                for number in range(3)]
    for child in children:
        child.start()
    print('nobody before the gate opens:', arrived.empty() and not gate.is_set())
    gate.set()
    print('all three went through together:', sorted(arrived.get() for _ in children))
    for child in children:
        child.join()
    count = 0
    while told.acquire(block=False):
        count += 1
    print('one of them was told to tidy up:', count)
