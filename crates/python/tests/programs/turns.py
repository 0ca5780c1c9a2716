"""Two processes take turns with a condition.

ping pong ping pong ping pong
"""
import sys

import ginnel as multiprocessing


def play(condition, turn, me, words, what):
    for _ in range(3):
        with condition:
            assert condition.wait_for(lambda: turn.value == me, timeout=30)
            words.put(what)
            turn.value = 1 - me
            condition.notify_all()


if __name__ == '__main__':
    multiprocessing.set_start_method(sys.argv[1])
    condition, turn, words = multiprocessing.Condition(), multiprocessing.Value('b', 0), multiprocessing.Queue()
    players = [multiprocessing.Process(target=play, args=(condition, turn, me, words, what))
               for me, what in enumerate(['ping', 'pong'])]
    for player in players:
        player.start()
    for player in players:
        player.join()
    # What two processes put may come in another order than the two calls were made in.
    said = [words.get() for _ in range(6)]
    assert sorted(said) == ['ping'] * 3 + ['pong'] * 3, said
    print(' '.join(['ping', 'pong'] * 3))
