"""Whichever is first: a message, or the end of a child.

a message: hello
the child ended
"""
import sys

import ginnel as multiprocessing
from ginnel.connection import wait


def greet(end):
    end.send('hello')
    end.close()


if __name__ == '__main__':
    multiprocessing.set_start_method(sys.argv[1])
    reader, writer = multiprocessing.Pipe(duplex=False)
    child = multiprocessing.Process(target=greet, args=(writer,))
    child.start()
    writer.close()
    waiting = [reader, child.sentinel]
    said = []
    while waiting:
        for ready in wait(waiting, timeout=30):
            if ready is reader:
                try:
                    said.append(f'a message: {reader.recv()}')
                except EOFError:
                    waiting.remove(reader)
            else:
                said.append('the child ended')
                waiting.remove(ready)
    print('\n'.join(sorted(said)))
    child.join()
