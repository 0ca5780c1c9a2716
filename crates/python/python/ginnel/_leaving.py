"""A process that ends in order leaves its pipes at once.

Children of ``multiprocessing`` end without any cleaning up of objects, and the kernel closes their descriptors. Memory
has no kernel that would tell the other end of a pipe: whoever waits there asks now and then whether we live, and finds out
a moment later. So the last of the finalizers says it.

Not while threads run that the process will wait for: they may go on sending.
"""

import threading

from multiprocessing import util

from . import _ginnel

# After all others: the feeders of queues have been joined by then.
_LAST = -1_000_000


class _Registered:
    """What the registry of the standard library, which is a weak one, holds."""


def _resign():
    me = threading.current_thread()
    if all(thread is me or thread.daemon for thread in threading.enumerate()):
        _ginnel.resign()


def _register(_):
    util.Finalize(None, _resign, exitpriority=_LAST)


_registered = _Registered()
# A child forgets the finalizers of its parent.
util.register_after_fork(_registered, _register)
_register(_registered)
