"""A pipe of one direction: many children write, the parent reads.

[(0, b'0000'), (1, b'1111'), (2, b'2222')]
the reading end does not write
the writing end does not read
"""
import sys

import ginnel as multiprocessing


def work(number, end, turn):
    with turn, end:
        end.send(number)
        end.send_bytes(str(number).encode() * 4)


if __name__ == '__main__':
    multiprocessing.set_start_method(sys.argv[1])
    reader, writer = multiprocessing.Pipe(duplex=False)
    turn = multiprocessing.Lock()
    children = [multiprocessing.Process(target=work, args=(number, writer, turn)) for number in range(3)]
    for child in children:
        child.start()
    print(sorted((reader.recv(), reader.recv_bytes()) for _ in children))
    for child in children:
        child.join()
    try:
        reader.send(1)
    except OSError:
        print('the reading end does not write')
    try:
        writer.recv()
    except OSError:
        print('the writing end does not read')
