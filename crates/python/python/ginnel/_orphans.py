"""A daemon process ends when its parent is gone, however the parent went.

The standard library terminates daemons when the parent exits; a parent that is killed leaves them behind. Each child
has the reading end of a pipe that only ends with its parent (``parent_process().sentinel``): here the kernel is asked
to send SIGTERM when that happens, as ``terminate`` would have. No thread, nothing to poll.

Children that were forked later have a copy of the writing end: they keep an older sibling alive until they have ended,
which daemons do, the youngest first.
"""

import fcntl
import os
import select
import signal

from multiprocessing import context, process, util

# Not among the names that the module fcntl has before Python 3.13 on all builds: see fcntl(2).
_F_SETSIG = getattr(fcntl, 'F_SETSIG', 10)


class _Registered:
    """What the registry of the standard library, which is a weak one, holds."""


def _watch_parent(_):
    parent = process.parent_process()
    if parent is None or not process.current_process().daemon:
        return
    pipe = parent.sentinel
    try:
        fcntl.fcntl(pipe, fcntl.F_SETOWN, os.getpid())
        fcntl.fcntl(pipe, _F_SETSIG, signal.SIGTERM)
        fcntl.fcntl(pipe, fcntl.F_SETFL, fcntl.fcntl(pipe, fcntl.F_GETFL) | os.O_ASYNC)
    except OSError:
        return
    if select.select([pipe], [], [], 0)[0]:
        # It was gone before that.
        os.kill(os.getpid(), signal.SIGTERM)


_registered = _Registered()
util.register_after_fork(_registered, _watch_parent)

if getattr(process.current_process(), '_inheriting', False):
    # This is a spawned child that has not begun. It does not go through the registry, only through this.
    context.SpawnProcess._after_fork = staticmethod(lambda: _watch_parent(None))
