"""A subclass of Process, with what it found in an attribute of the parent's making.

square-2 is a process: True
squares: [(1, 1), (2, 4), (3, 9)]
"""
import sys

import ginnel as multiprocessing


class Square(multiprocessing.Process):
    def __init__(self, number, answers):
        super().__init__(name=f'square-{number}', daemon=True)
        self.number = number
        self.answers = answers

    def run(self):
        assert multiprocessing.current_process().name == self.name
        self.answers.put((self.number, self.number ** 2))


if __name__ == '__main__':
    multiprocessing.set_start_method(sys.argv[1])
    answers = multiprocessing.Queue()
    squares = [Square(number, answers) for number in (1, 2, 3)]
    for square in squares:
        square.start()
    print(squares[1].name, 'is a process:', isinstance(squares[1], multiprocessing.Process))
    print('squares:', sorted(answers.get() for _ in squares))
    for square in squares:
        square.join()
