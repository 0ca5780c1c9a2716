"""A dict and a list that belong to a manager, filled by four processes.

{0: 'zero', 1: 'one', 2: 'two', 3: 'three'}
[0, 1, 4, 9]
counted: 40
"""
import sys

import ginnel as multiprocessing

NAMES = ['zero', 'one', 'two', 'three']


def work(number, names, squares, total, lock):
    names[number] = NAMES[number]
    squares.append(number ** 2)
    for _ in range(10):
        with lock:
            total.value += 1


def main():
    with multiprocessing.Manager() as manager:
        names, squares, total, lock = manager.dict(), manager.list(), manager.Value('i', 0), manager.Lock()
        children = [multiprocessing.Process(target=work, args=(number, names, squares, total, lock))
                    for number in range(4)]
        for child in children:
            child.start()
        for child in children:
            child.join()
        print(dict(sorted(names.items())))
        print(sorted(squares))
        print('counted:', total.value)


if __name__ == '__main__':
    multiprocessing.set_start_method(sys.argv[1])
    main()
