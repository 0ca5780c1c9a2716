"""Submodules that are the standard library's own.

``ginnel.util`` is ``multiprocessing.util``: the very same module, with the same state, and so for every submodule that
this package has no file for. They come at their first import, as they do there.
"""

import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import os
import sys

_PREFIX = 'ginnel.'
_STOCK = 'multiprocessing.'
_HERE = [os.path.dirname(__file__)]


class _Finder(importlib.abc.MetaPathFinder):
    """Asked first, because below a module of the standard library the search would make a second copy of its files."""

    @staticmethod
    def find_spec(name, path=None, target=None):
        if not name.startswith(_PREFIX):
            return None
        below = name[len(_PREFIX):]
        if '.' not in below and importlib.machinery.PathFinder.find_spec(name, _HERE):
            return None
        stock = _STOCK + below
        try:
            found = importlib.util.find_spec(stock)
        except ModuleNotFoundError:
            return None
        return importlib.machinery.ModuleSpec(name, _Loader(stock)) if found else None


class _Loader(importlib.abc.Loader):
    """Puts a module of the standard library in the place of the empty one that the import system has made."""

    def __init__(self, stock):
        self._stock = stock

    def exec_module(self, module):
        sys.modules[module.__name__] = importlib.import_module(self._stock)


def install():
    """From now on the standard library's submodules are found under the package's name."""
    sys.meta_path.insert(0, _Finder())
