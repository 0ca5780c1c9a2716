"""An executor of concurrent.futures on our contexts.

[1, 8, 27]
[2, 4]
"""
import concurrent.futures
import sys

import ginnel as multiprocessing


def power(number, exponent):
    return number ** exponent


if __name__ == '__main__':
    context = multiprocessing.get_context(sys.argv[1])
    with concurrent.futures.ProcessPoolExecutor(2, mp_context=context) as executor:
        print(list(executor.map(power, [1, 2, 3], [3] * 3)))
        futures = [executor.submit(power, 2, exponent) for exponent in (1, 2)]
        print(sorted(future.result() for future in concurrent.futures.as_completed(futures)))
