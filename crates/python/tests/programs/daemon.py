"""A daemonic child ends with its parent, which does not wait for it.

the child is there
the parent leaves
"""
import sys

import ginnel as multiprocessing


def stay(here, never):
    here.set()
    never.wait()
    print('nobody sees this', flush=True)


if __name__ == '__main__':
    multiprocessing.set_start_method(sys.argv[1])
    here, never = multiprocessing.Event(), multiprocessing.Event()
    multiprocessing.Process(target=stay, args=(here, never), daemon=True).start()
    assert here.wait(30)
    print('the child is there')
    print('the parent leaves')
