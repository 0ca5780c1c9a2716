"""Numbers and text in shared memory.

[0.0, 1.0, 4.0, 9.0]
b'written by a child'
7
"""
import sys

import ginnel as multiprocessing


def square(numbers, text, answer):
    for index, number in enumerate(numbers):
        numbers[index] = number * number
    text.value = b'written by a child'
    answer.value = 7


if __name__ == '__main__':
    multiprocessing.set_start_method(sys.argv[1])
    numbers, text = multiprocessing.Array('d', range(4)), multiprocessing.Array('c', 30)
    answer = multiprocessing.Value('i', lock=False)
    child = multiprocessing.Process(target=square, args=(numbers, text, answer))
    child.start()
    child.join()
    print(numbers[:])
    print(text.value)
    print(answer.value)
