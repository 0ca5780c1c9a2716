"""What a manager keeps: dicts, lists, namespaces, values and arrays.

Ours: the data, in shared memory (``_ginnel.Dict`` and ``_ginnel.List``, of which most methods here are). The
standard library's: the proxy types, which these are subclasses of. A container may travel to any process of
the tree, in any way, and lie in another container.

What a killed process leaves: each operation on one key or element, and each method of a list, has happened or
has not.
"""

import array
import operator
import sys

from multiprocessing import managers as _stock
from multiprocessing.context import get_spawning_popen

from . import _ginnel, _share

# What was pickled outside of any message of ours: nobody says when it arrives, so it lives as long as this
# process.
_sent = {}


def state_of(native):
    """What stands for ``native`` in any pickle."""
    state = native._own_value()
    if state is None:
        state = _share.state_of(native, type(native).__name__, always=True)
        if state[2] != _ginnel.PARCEL and get_spawning_popen() is None:
            _sent[id(native)] = native
    return state


def _opened(cls, state):
    self = cls.__new__(cls)
    self._open(state)
    return self


class _Travels:
    """Goes along in any pickle."""

    def __reduce__(self):
        return _opened, (type(self), state_of(self))


class Table(_Travels, _ginnel.Dict):
    """A dict without manners."""


class Row(_Travels, _ginnel.List):
    """A list without manners."""


class Proxy:
    """What proxies have in common, without the server behind it."""

    _typeid = None

    def _callmethod(self, methodname, args=(), kwds={}):
        return getattr(self, methodname)(*args, **kwds)

    def __deepcopy__(self, memo):
        return self._getvalue()

    def __repr__(self):
        return f'<{type(self).__name__} object, typeid {self._typeid!r} at {id(self):#x}>'

    def __str__(self):
        try:
            return repr(self._getvalue())
        except Exception:
            return f"{repr(self)[:-1]}; '__str__()' failed>"


class _Keys:
    """The keys of a dict, as long as it has no more and no fewer."""

    def __init__(self, of):
        self._of = of
        keys = of.keys()
        self._len = len(keys)
        self._keys = iter(keys)

    def __iter__(self):
        return self

    def __next__(self):
        if self._of is None:
            raise StopIteration
        if len(self._of) != self._len:
            raise RuntimeError('dictionary changed size during iteration')
        try:
            return next(self._keys)
        except StopIteration:
            self._of = None
            raise


class DictProxy(Proxy, Table, _stock.DictProxy):
    """A dict in shared memory, with the methods of ``dict``.

    Keys are what a dict's can be, if they can be pickled; order is that of insertion. Values are copies: what
    changes in one arrives when it is assigned again (``d[k] = v``) or with :meth:`update_with`. ``keys``,
    ``values`` and ``items`` are lists of one moment; ``update`` and ``|=`` put one entry after the other.
    """

    _typeid = 'dict'

    def __init__(self, *args, **kwds):
        self._make()
        if args or kwds:
            self.update(*args, **kwds)

    def _getvalue(self):
        return dict(self.items())

    copy = _getvalue

    def __iter__(self):
        return _Keys(self)

    def __reversed__(self):
        return reversed(self.keys())

    def update(self, *args, **kwds):
        """Puts in what a mapping has, or an iterable of pairs, and the keywords."""
        if len(args) > 1:
            raise TypeError(f'update expected at most 1 argument, got {len(args)}')
        for other in args:
            # The interpreter's own complaints about what is neither, and nothing put in before them.
            for key, value in (other if type(other) is dict else dict(_plain(other))).items():
                self[key] = value
        for key, value in kwds.items():
            self[key] = value

    def update_with(self, key, function, default=None):
        """Replaces the value of ``key`` (``default`` if there is none) by ``function(value)``, and gives
        that.

        No update of another process is lost in between: where one came, ``function`` is called again.
        """
        while True:
            version, value = self._versioned(key, default)
            value = function(value)
            if self._replace(key, version, value):
                return value

    def increment(self, key, by=1):
        """Adds ``by`` to the number of ``key`` (0 if there is none), and gives the sum."""
        return self.update_with(key, lambda value: value + by, 0)

    def __or__(self, other):
        return self._getvalue() | other if isinstance(other := _plain(other), dict) else NotImplemented

    def __ror__(self, other):
        return other | self._getvalue() if isinstance(other, dict) else NotImplemented

    def __ior__(self, other):
        self.update(other)
        return self


def _plain(mapping):
    return mapping._getvalue() if isinstance(mapping, DictProxy) else mapping


class ListProxy(Proxy, Row, _stock.ListProxy):
    """A list in shared memory, with the methods of ``list``.

    Elements are copies: what changes in one arrives when it is assigned again (``l[0] = v``). Every method
    happens at one moment.
    """

    _typeid = 'list'

    def __init__(self, sequence=()):
        self._make()
        self.extend(sequence)

    def _getvalue(self):
        return self[:]

    copy = _getvalue

    def __reversed__(self):
        return reversed(self[:])

    def __contains__(self, value):
        return value in self[:]

    def count(self, value):
        return self[:].count(value)

    def index(self, value, start=0, stop=sys.maxsize):
        return self[:].index(value, start, stop)

    def _reordered(self, order_of):
        """Makes it what ``order_of`` says of its elements: their places, in the new order."""
        while True:
            version, values = self._all()
            if self._arrange(version, order_of(values)):
                return

    def remove(self, value):
        def others(values):
            if value not in values:
                raise ValueError('list.remove(x): x not in list')
            place = values.index(value)
            return [*range(place), *range(place + 1, len(values))]
        self._reordered(others)

    def reverse(self):
        self._reordered(lambda values: list(range(len(values) - 1, -1, -1)))

    def sort(self, *, key=None, reverse=False):
        def sorted_places(values):
            keys = values if key is None else [key(value) for value in values]
            return sorted(range(len(values)), key=keys.__getitem__, reverse=reverse)
        self._reordered(sorted_places)

    def __add__(self, other):
        return self[:] + (other[:] if isinstance(other, ListProxy) else other)

    def __mul__(self, times):
        return self[:] * times

    __rmul__ = __mul__

    def __iadd__(self, values):
        self.extend(values)
        return self

    def __imul__(self, times):
        times = operator.index(times)
        while True:
            version, values = self._all()
            if self._replace(version, values * times):
                return self


class SharedDict(DictProxy):
    """A dict in shared memory that needs no manager: ``SharedDict(mapping or pairs, **entries)``.

    It is gone with the last process, and the last container or queue, that has it.
    """


class SharedList(ListProxy):
    """A list in shared memory that needs no manager: ``SharedList(elements)``.

    It is gone with the last process, and the last container or queue, that has it.
    """


class _Wrapper(Proxy):
    """A proxy that keeps its data in another object, ``_of``."""

    def _close(self):
        self._of._close()

    def __reduce__(self):
        return _wrapped, (type(self), dict(vars(self)))


def _wrapped(cls, state):
    self = cls.__new__(cls)
    vars(self).update(state)
    return self


class NamespaceProxy(_Wrapper, _stock.NamespaceProxy):
    """An object whose attributes are in shared memory; with an underscore first they are local."""

    _typeid = 'Namespace'

    def __init__(self, /, **kwds):
        self._of = Table()
        self._of._make(1)
        for name, value in kwds.items():
            self._of[name] = value

    def __getattr__(self, key):
        if key[0] == '_':
            return object.__getattribute__(self, key)
        try:
            return self._of[key]
        except KeyError:
            raise AttributeError(f"'Namespace' object has no attribute {key!r}") from None

    def __setattr__(self, key, value):
        if key[0] == '_':
            object.__setattr__(self, key, value)
        else:
            self._of[key] = value

    def __delattr__(self, key):
        if key[0] == '_':
            return object.__delattr__(self, key)
        try:
            del self._of[key]
        except KeyError:
            raise AttributeError(f"'Namespace' object has no attribute {key!r}") from None

    def _getvalue(self):
        return _stock.Namespace(**dict(self._of.items()))

    def __reduce__(self):
        return _wrapped, (type(self), {'_of': self._of})


class ValueProxy(_Wrapper, _stock.ValueProxy):
    """One value of any type; ``typecode`` is only kept."""

    _typeid = 'Value'

    def __init__(self, typecode, value, lock=True):
        self._typecode = typecode
        self._of = Row()
        self._of._make()
        self._of.append(value)

    def get(self):
        """The value."""
        return self._of[0]

    def set(self, value):
        """Replaces the value."""
        self._of[0] = value

    value = property(get, set)

    def _getvalue(self):
        return _stock.Value(self._typecode, self.get())


class ArrayProxy(_Wrapper, _stock.ArrayProxy):
    """Numbers of one type, as ``array.array`` checks and converts them."""

    _typeid = 'Array'

    def __init__(self, typecode, sequence, lock=True):
        self._typecode = typecode
        self._of = Row()
        self._of._make()
        self._of.extend(array.array(typecode, sequence))

    def __len__(self):
        return len(self._of)

    def __getitem__(self, key):
        found = self._of[key]
        return array.array(self._typecode, found) if isinstance(key, slice) else found

    def __setitem__(self, key, value):
        if not isinstance(key, slice):
            value = array.array(self._typecode, [value])[0]
        elif not isinstance(value, array.array) or value.typecode != self._typecode:
            raise TypeError('can only assign array (of the same type) to array slice')
        self._of[key] = value

    def _getvalue(self):
        return self[:]
