"""ctypes objects in shared memory.

The standard library's: the objects, their memory, and the wrappers with a lock. Ours: that lock. When its
holder dies it comes free, and what the holder had half written is there as it was left.
"""

from multiprocessing import sharedctypes as _stock
from multiprocessing.sharedctypes import (  # noqa: F401, what is not ours is found here, too
    RawArray, RawValue, Synchronized, SynchronizedArray, SynchronizedBase, SynchronizedString, copy)

from . import get_context

__all__ = _stock.__all__


def __getattr__(name):
    """Whatever is not ours is the standard library's."""
    return getattr(_stock, name)


def Value(typecode_or_type, *args, lock=True, ctx=None):
    """A ctypes object with a lock: a new ``RLock``, or ``lock``; without one where that is False."""
    return _stock.Value(typecode_or_type, *args, lock=lock, ctx=ctx or get_context())


def Array(typecode_or_type, size_or_initializer, *, lock=True, ctx=None):
    """A ctypes array with a lock: a new ``RLock``, or ``lock``; without one where that is False."""
    return _stock.Array(typecode_or_type, size_or_initializer, lock=lock, ctx=ctx or get_context())


def synchronized(obj, lock=None, ctx=None):
    """A wrapper with a lock around an object that has none."""
    return _stock.synchronized(obj, lock, ctx or get_context())
