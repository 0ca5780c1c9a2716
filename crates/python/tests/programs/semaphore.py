"""At most two of five are inside at a time.

five were inside, never more than two at a time: True
over-release is refused
"""
import sys

import ginnel as multiprocessing


def visit(door, inside, most, visits):
    with door:
        with inside.get_lock():
            inside.value += 1
            most.value = max(most.value, inside.value)
            visits.value += 1
        with inside.get_lock():
            inside.value -= 1


if __name__ == '__main__':
    multiprocessing.set_start_method(sys.argv[1])
    door = multiprocessing.BoundedSemaphore(2)
    inside, most, visits = (multiprocessing.Value('i', 0) for _ in range(3))
    children = [multiprocessing.Process(target=visit, args=(door, inside, most, visits)) for _ in range(5)]
    for child in children:
        child.start()
    for child in children:
        child.join()
    print('five were inside, never more than two at a time:', visits.value == 5 and most.value <= 2)
    try:
        door.release()
    except ValueError:
        print('over-release is refused')
