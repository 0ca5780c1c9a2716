"""How objects in shared memory are pickled.

An object is named by the arena that it lies in, its index and its generation there. What a new process lacks is the
arena's descriptor, which goes along as the standard library sends descriptors (``reduction.DupFd``).

- While a process is being started, whatever is pickled stays alive until that process has ended: its popen keeps it.
- In a message of our own (through a queue, in a dict) the handle itself goes along, so that the object is there for
  whoever reads it, whatever becomes of the sender.
- Otherwise only what may travel does (``always=True``): elsewhere the standard library raises, and so do we.
"""

import os

from multiprocessing import context, reduction

from . import _ginnel


class Arena:
    """An arena on its way: its uuid, and its descriptor for a process that has not attached to it."""

    def __init__(self, uuid):
        self.uuid = uuid

    def __reduce__(self):
        popen = context.get_spawning_popen()
        fd = _ginnel.descriptor(self.uuid)
        if popen is None:
            # Whoever reads it has attached as a rule, so nothing is kept open here for the others.
            return _arena, (self.uuid, _Elsewhere(os.getpid(), fd))
        known = vars(popen).setdefault('_ginnel_arenas', {})
        if self.uuid not in known:
            known[self.uuid] = reduction.DupFd(fd)
        return _arena, (self.uuid, known[self.uuid])


class _Elsewhere:
    """A descriptor that another process has open."""

    def __init__(self, pid, fd):
        self._path = f'/proc/{pid}/fd/{fd}'

    def detach(self):
        try:
            # The number may be another file's by now, perhaps one that must not be opened.
            if '/memfd:' in os.readlink(self._path):
                return os.open(self._path, os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            pass
        raise RuntimeError('the process that sent this object has ended, or is not to be looked into')


def _arena(uuid, descriptor):
    if not _ginnel.attached(uuid):
        fd = descriptor.detach()
        try:
            _ginnel.attach(uuid, fd)
        finally:
            os.close(fd)
    return uuid


def state_of(native, what, always=False):
    """What stands for ``native`` in a pickle; ``what`` is the object's name for the error."""
    popen = context.get_spawning_popen()
    uuid, index, generation = native.address()
    if generation == _ginnel.PARCEL:
        return uuid, index, generation
    if popen is not None:
        vars(popen).setdefault('_ginnel_kept', []).append(native)
    elif not always:
        raise RuntimeError(
            f'{what} objects should only be shared between processes through inheritance')
    return Arena(uuid), index, generation


def native_of(cls, state):
    """The native object of class ``cls`` that ``state`` stands for."""
    return cls.at(state)


os.register_at_fork(
    before=_ginnel.before_fork,
    after_in_parent=_ginnel.after_fork_in_parent,
    after_in_child=_ginnel.after_fork_in_child,
)
