"""A queue that is waited for until all of it has been dealt with.

all dealt with: 36
task_done() without a task is refused
"""
import sys

import ginnel as multiprocessing


def work(jobs, total):
    while True:
        number = jobs.get()
        with total.get_lock():
            total.value += number
        jobs.task_done()


if __name__ == '__main__':
    multiprocessing.set_start_method(sys.argv[1])
    jobs, total = multiprocessing.JoinableQueue(), multiprocessing.Value('l', 0)
    for number in range(9):
        jobs.put(number)
    for _ in range(2):
        multiprocessing.Process(target=work, args=(jobs, total), daemon=True).start()
    jobs.join()
    print('all dealt with:', total.value)
    try:
        jobs.task_done()
    except ValueError:
        print('task_done() without a task is refused')
