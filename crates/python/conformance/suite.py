"""Makes the package ``ginnel_suite``: the interpreter's own tests of multiprocessing, importing another package.

The tests are read from the running interpreter's installation (``test/_test_multiprocessing.py``) and written into a
directory that every child finds as well, because under *spawn* and *forkserver* a child imports its test again. In the
copy, the name ``multiprocessing`` is the package under test: in code, in the text of helper programs and in what is
patched by name. Line numbers stay what they are.
"""

import pathlib
import re
import sysconfig

PACKAGE = 'ginnel_suite'
METHODS = ('fork', 'spawn', 'forkserver')

_TESTS = '_test_multiprocessing.py'
_HELPERS = ('mp_fork_bomb.py', 'mp_preload.py')
# As a name, not as a word in a sentence.
_NAME = re.compile(r'''(?<![\w.])multiprocessing(?=\.\w|\s+(?:import|as)\b|\s*[),;'"]|\s*$)''', re.MULTILINE)
# Code for an interpreter that is told not to look into site-packages.
_ALONE = re.compile(r"'from test\._test_multiprocessing import TestFlags")
_MOVED = re.compile(r'\btest\.(_test_multiprocessing|mp_preload)\b')
_PRELOADED = re.compile(r'\btest\.test_multiprocessing_forkserver\b')
_MODULE = f"""\
from {PACKAGE}._test_multiprocessing import install_tests_in_module_dict

install_tests_in_module_dict(globals(), %r)
"""


def write(directory, target):
    """Writes the package into ``directory``, for the module named ``target``; gives the path of the tests."""
    origin = pathlib.Path(sysconfig.get_path('stdlib')) / 'test'
    if not (origin / _TESTS).exists():
        raise SystemExit(f'this Python was installed without its tests: there is no {origin / _TESTS}')
    package = pathlib.Path(directory) / PACKAGE
    package.mkdir(exist_ok=True)
    (package / '__init__.py').write_text('')
    for name in (_TESTS, *_HELPERS):
        (package / name).write_text(_rewritten((origin / name).read_text(), target, directory))
    for method in METHODS:
        (package / f'{method}.py').write_text(_MODULE % method)
    return origin / _TESTS


def _rewritten(text, target, directory):
    text = _ALONE.sub(f"'import sys; sys.path.append(\"{directory}\"); from test._test_multiprocessing import TestFlags",
                      text)
    text = _PRELOADED.sub(f'{PACKAGE}.forkserver', text)
    text = _MOVED.sub(rf'{PACKAGE}.\1', text)
    return _NAME.sub(target, text)
