"""multiprocessing on shared memory: ``import ginnel as multiprocessing``.

Everything that the standard library's package has is here under the same name; ``context`` says what is ours.
"""

from multiprocessing import SUBDEBUG, SUBWARNING

from . import _reuse

_reuse.install()

# The last two are found by what was just installed.
from . import _leaving, _orphans, _share, context, process, reduction  # noqa: E402, F401

__all__ = [name for name in dir(context._default_context) if not name.startswith('_')]
globals().update((name, getattr(context._default_context, name)) for name in __all__)

# What is ours alone, and where it comes from; it comes at its first use.
_OURS = {
    'CorruptedError': '_ginnel',
    'Error': '_ginnel',
    'SharedDict': 'managers',
    'SharedList': 'managers',
    'WorkerDied': 'pool',
}


def __getattr__(name):
    if name not in _OURS:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    from importlib import import_module
    value = getattr(import_module(f'{__name__}.{_OURS[name]}'), name)
    globals()[name] = value
    return value
