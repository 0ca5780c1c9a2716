"""Tests that ask for the inside of the standard library, which is another one here: a pattern and the reason.

They run and are counted apart.
"""

import re

_TESTS = {
    r'_TestImportStar\.test_import':
        'lists the files of the package, and takes those of the standard library for granted',
    r'TestResourceTracker\.test_resource_tracker(_sigkill)?':
        'a Lock is asked for the name of its semaphore in the file system; ours has none, which is why none can leak',
    r'TestStartMethod\.test_mixed_startmethod':
        'a lock made by a fork context must be refused to a spawned process; ours can be shared with it',
    r'WithProcessesTestConnection\.test_(large_)?fd_transfer':
        'reduction.send_handle takes the descriptor of a connection for a socket; ours is a ring in shared memory',
    r'WithProcessesTestSharedMemory\.test_shared_memory_tracking':
        'who attaches must be warned at its end that it leaks the segment; here the one who made it answers for it',
    r'WithThreadsTestPool\.test_terminate':
        'threads of the standard library, which cannot be ended once their task sleeps: it depends on who is faster',
}

_PATTERNS = [(re.compile(pattern), reason) for pattern, reason in _TESTS.items()]


def reason(name):
    """Why ``Class.test`` is internal; ``None`` if it is not."""
    return next((why for pattern, why in _PATTERNS if pattern.fullmatch(name)), None)
