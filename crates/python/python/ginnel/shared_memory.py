"""Blocks of shared memory with a name, and lists in them.

The standard library's classes, but for one thing: a process that only attaches to a block does not destroy it
when it ends. There its resource tracker does, also in a program that has nothing to do with the owner.

What a killed process leaves: what it made is destroyed by its resource tracker when the last process of its
tree has ended, as in the standard library. What it attached to stays.
"""

import mmap
import os
import types

import _posixshmem
from multiprocessing import resource_tracker
from multiprocessing import shared_memory as _stock
from multiprocessing.shared_memory import _make_filename

__all__ = _stock.__all__


def __getattr__(name):
    """Whatever is not ours is the standard library's."""
    return getattr(_stock, name)


class SharedMemory(_stock.SharedMemory):
    """As ``multiprocessing.shared_memory.SharedMemory``.

    Who makes a block is its owner: if it is never unlinked, that happens when all processes of the owner's
    tree have ended. Who attaches to one may read, write and unlink it, and otherwise leaves it alone.
    ``track`` says otherwise: True for somebody who attaches as the owner does, False for an owner that leaves
    the block behind.
    """

    def __init__(self, name=None, create=False, size=0, *, track=None):
        """Makes or attaches to a block. Raises ``ValueError``, ``OSError`` (a name taken or unknown)."""
        self._tracked = create if track is None else track
        if not create and not self._tracked and name is not None and size >= 0:
            self._attach(name)
            return
        if create and name is None and size > 0:
            while True:
                try:
                    super().__init__(_make_filename().removeprefix('/'), create=True, size=size)
                    break
                except FileExistsError:
                    continue
        else:
            super().__init__(name, create, size)
        if not self._tracked:
            resource_tracker.unregister(self._name, 'shared_memory')

    def _attach(self, name):
        self._name = '/' + name if self._prepend_leading_slash else name
        self._fd = _posixshmem.shm_open(self._name, self._flags, mode=self._mode)
        self._size = os.fstat(self._fd).st_size
        self._mmap = mmap.mmap(self._fd, self._size)
        self._buf = memoryview(self._mmap)

    def unlink(self):
        """Destroys the block, once nobody has it open any more. To be called once."""
        if self._name and not self._tracked:
            # The owner may be of this tree, or it may not: now its tracker knows the name in any case.
            resource_tracker.register(self._name, 'shared_memory')
        super().unlink()


class ShareableList(_stock.ShareableList):
    """As ``multiprocessing.shared_memory.ShareableList``, in a block of ours."""

    # The standard library's own code, which finds our class under the name of its own.
    __init__ = types.FunctionType(
        _stock.ShareableList.__init__.__code__, vars(_stock) | {'SharedMemory': SharedMemory}, '__init__',
        _stock.ShareableList.__init__.__defaults__)
    __init__.__kwdefaults__ = _stock.ShareableList.__init__.__kwdefaults__
