"""A conversation over a pipe, which the child ends by leaving.

2 doubled is 4
'ab' doubled is 'abab'
[1] doubled is [1, 1]
end of file
"""
import sys

import ginnel as multiprocessing


def double(end):
    for thing in iter(end.recv, None):
        end.send(thing * 2)


if __name__ == '__main__':
    multiprocessing.set_start_method(sys.argv[1])
    here, there = multiprocessing.Pipe()
    child = multiprocessing.Process(target=double, args=(there,))
    child.start()
    there.close()
    for thing in (2, 'ab', [1]):
        here.send(thing)
        assert here.poll(30)
        print(f'{thing!r} doubled is {here.recv()!r}')
    here.send(None)
    try:
        here.recv()
    except EOFError:
        print('end of file')
    child.join()
