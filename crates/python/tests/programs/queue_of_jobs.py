"""Two workers, one queue of jobs and one of answers; ``None`` sends a worker home.

jobs are left: True
words: 6, letters: 25
each worker went home: [0, 0]
"""
import sys

import ginnel as multiprocessing

WORDS = 'a ginnel is the narrow passage'.split()


def work(jobs, answers):
    for word in iter(jobs.get, None):
        answers.put((word, {'letters': len(word)}))


def main():
    jobs, answers = multiprocessing.Queue(), multiprocessing.Queue(maxsize=2)
    for word in WORDS:
        jobs.put(word)
    print('jobs are left:', jobs.qsize() == len(WORDS))
    workers = [multiprocessing.Process(target=work, args=(jobs, answers)) for _ in range(2)]
    for worker in workers:
        worker.start()
        jobs.put(None)
    found = dict(answers.get(timeout=30) for _ in WORDS)
    assert answers.empty()
    print(f'words: {len(found)}, letters: {sum(count["letters"] for count in found.values())}')
    for worker in workers:
        worker.join()
    print('each worker went home:', [worker.exitcode for worker in workers])


if __name__ == '__main__':
    multiprocessing.set_start_method(sys.argv[1])
    main()
