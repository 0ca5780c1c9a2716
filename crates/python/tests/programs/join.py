"""Three children, waited for in order.

first done, exit code 0
second done, exit code 1
third done, exit code 3
nobody is left
"""
import sys

import ginnel as multiprocessing


def work(code):
    sys.exit(code)


if __name__ == '__main__':
    multiprocessing.set_start_method(sys.argv[1])
    children = [multiprocessing.Process(target=work, args=(code,), name=name)
                for name, code in [('first', None), ('second', True), ('third', 3)]]
    for child in children:
        child.start()
    for child in children:
        child.join()
        print(f'{child.name} done, exit code {child.exitcode}')
    print('somebody' if multiprocessing.active_children() else 'nobody', 'is left')
