"""Children that have children, with one queue for all.

[(0, 'child'), (0, 'grandchild'), (1, 'child'), (1, 'grandchild')]
"""
import sys

import ginnel as multiprocessing


def grandchild(number, answers):
    answers.put((number, 'grandchild'))


def child(number, answers):
    answers.put((number, 'child'))
    below = multiprocessing.Process(target=grandchild, args=(number, answers))
    below.start()
    below.join()


if __name__ == '__main__':
    multiprocessing.set_start_method(sys.argv[1])
    answers = multiprocessing.Queue()
    children = [multiprocessing.Process(target=child, args=(number, answers)) for number in range(2)]
    for process in children:
        process.start()
    print(sorted(answers.get() for _ in range(4)))
    for process in children:
        process.join()
