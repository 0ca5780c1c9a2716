"""The package has what ``multiprocessing`` has: names, signatures, classes, submodules, and one start method for both."""

import ast
import importlib
import inspect
import multiprocessing
import pathlib
import pickle
import pkgutil
import subprocess
import sys

import pytest

import ginnel

SUBMODULES = sorted(
    module.name for module in pkgutil.walk_packages(multiprocessing.__path__, 'multiprocessing.')
    if not module.name.endswith('win32'))
OURS = {'connection', 'context', 'managers', 'pool', 'queues', 'shared_memory', 'sharedctypes', 'synchronize'}
KINDS = ['Lock', 'RLock', 'Semaphore', 'BoundedSemaphore', 'Condition', 'Event', 'Queue', 'JoinableQueue', 'SimpleQueue']


@pytest.fixture
def stock_state():
    """Leaves the start method as it was."""
    before = multiprocessing.get_start_method(allow_none=True)
    yield
    multiprocessing.set_start_method(before, force=True)


def test_names():
    assert sorted(ginnel.__all__) == sorted(multiprocessing.__all__)
    assert not set(multiprocessing.__all__) - set(dir(ginnel))
    namespace = {}
    exec('from ginnel import *', namespace)
    assert set(ginnel.__all__) <= set(namespace)


@pytest.mark.parametrize('name', multiprocessing.__all__)
def test_signatures(name):
    """Every argument that the standard library takes is taken under its name and at its place."""
    stock, ours = getattr(multiprocessing, name), getattr(ginnel, name)
    if not callable(stock) or name.endswith('Error') or name == 'BufferTooShort':
        assert type(ours) is type(stock)
        return
    theirs = list(inspect.signature(stock).parameters.values())
    mine = list(inspect.signature(ours).parameters.values())
    assert mine[:len(theirs)] == theirs


@pytest.mark.parametrize('name', [name.partition('.')[2] for name in SUBMODULES])
def test_submodules(name):
    stock = importlib.import_module('multiprocessing.' + name)
    ours = importlib.import_module('ginnel.' + name)
    if name not in OURS:
        assert ours is stock
        return
    names = {name for name, value in vars(stock).items()
             if isinstance(value, type) and value.__module__ == stock.__name__ and not name.startswith('_')}
    assert [name for name in sorted(names | set(getattr(stock, '__all__', ()))) if not hasattr(ours, name)] == []


def test_a_submodule_that_nobody_has():
    with pytest.raises(ModuleNotFoundError, match='ginnel.nobody'):
        importlib.import_module('ginnel.nobody')
    with pytest.raises(AttributeError, match='nobody'):
        ginnel.nobody


@pytest.mark.parametrize('name', KINDS)
def test_objects_are_instances_of_the_stock_classes(ctx, name):
    module = 'queues' if name.endswith('Queue') else 'synchronize'
    made = getattr(ctx, name)()
    assert isinstance(made, getattr(importlib.import_module(f'multiprocessing.{module}'), name))
    assert isinstance(made, getattr(importlib.import_module(f'ginnel.{module}'), name))
    assert repr(made)
    with pytest.raises(RuntimeError, match='inheritance'):
        pickle.dumps(made)


def test_contexts(ctx, method):
    assert ctx.get_start_method() == method
    assert ctx.get_context() is ctx and ginnel.get_context(method) is ctx
    assert isinstance(ctx, type(multiprocessing.get_context(method)))
    assert ctx.Process is multiprocessing.get_context(method).Process
    with pytest.raises(ValueError, match='cannot set start method'):
        ctx.set_start_method('fork')
    with pytest.raises(ValueError, match='cannot find context'):
        ctx.get_context('nothing')


def test_one_start_method_for_both(stock_state, method):
    ginnel.set_start_method(method, force=True)
    assert multiprocessing.get_start_method() == ginnel.get_start_method() == method
    assert ginnel.get_context() is ginnel.get_context(method)
    with pytest.raises(RuntimeError, match='already been set'):
        ginnel.set_start_method(method)
    ginnel.set_start_method(None, force=True)
    assert multiprocessing.get_start_method(allow_none=True) is None
    assert ginnel.get_start_method(allow_none=True) is None
    multiprocessing.set_start_method(method)
    assert ginnel.get_context() is ginnel.get_context(method)
    assert ginnel.get_all_start_methods() == multiprocessing.get_all_start_methods()


def test_exceptions_are_the_same():
    for name in ('ProcessError', 'BufferTooShort', 'TimeoutError', 'AuthenticationError'):
        assert getattr(ginnel, name) is getattr(multiprocessing, name)
    assert issubclass(ginnel.CorruptedError, ginnel.Error) and issubclass(ginnel.Error, RuntimeError)
    assert pickle.loads(pickle.dumps(ginnel.Error('why'))).args == ('why',)
    assert issubclass(ginnel.WorkerDied, ginnel.ProcessError)


def test_processes_are_the_same(ctx):
    assert ginnel.current_process() is multiprocessing.current_process()
    reader, writer = ctx.Pipe(False)
    child = ctx.Process(target=reader.recv)
    child.start()
    assert child in ginnel.active_children() and child in multiprocessing.active_children()
    writer.send('go on')
    child.join()
    assert child.exitcode == 0


def test_stock_and_ours_side_by_side(method):
    """A child that was started by one takes objects of the other along."""
    stock, ours = multiprocessing.get_context(method), ginnel.get_context(method)
    for starter in (stock, ours):
        queues = stock.SimpleQueue(), ours.SimpleQueue()
        child = starter.Process(target=put_in_both, args=queues)
        child.start()
        assert [queue.get() for queue in queues] == [0, 1]
        child.join()
        queues[0].close()


def put_in_both(*queues):
    for number, queue in enumerate(queues):
        queue.put(number)


def test_the_import_is_lazy():
    """A program that starts processes and no more does not pay for managers and pools."""
    code = 'import sys, ginnel; print(sorted(m for m in sys.modules if m.startswith("ginnel.")))'
    loaded = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True).stdout
    assert not {'ginnel.managers', 'ginnel.pool', 'ginnel.queues'} & set(eval(loaded))


def test_command():
    run = [sys.executable, '-m', 'ginnel']
    shown = subprocess.run([*run, '--help'], capture_output=True, text=True, timeout=60)
    assert shown.returncode == 0 and all(name in shown.stdout for name in ('ls', 'gc', 'doctor', 'bench'))
    checked = subprocess.run([*run, 'doctor'], capture_output=True, text=True, timeout=60)
    assert checked.returncode == 0, checked
    assert 'ok' in checked.stdout
    assert subprocess.run([*run, 'ls'], capture_output=True, timeout=60).returncode == 0
    assert subprocess.run([*run, 'nothing'], capture_output=True, timeout=60).returncode == 2


def test_stubs_name_what_is_there():
    here = pathlib.Path(ginnel.__file__).parent
    assert (here / 'py.typed').exists()
    listed = ast.parse((here / '_ginnel.pyi').read_text()).body
    for made in (node for node in listed if isinstance(node, ast.ClassDef)):
        real = getattr(ginnel._ginnel, made.name)
        for member in made.body:
            name = getattr(member, 'name', None) or getattr(getattr(member, 'target', None), 'id', None)
            assert name is None or hasattr(real, name), f'{made.name}.{name}'
    names = {getattr(node, 'name', None) for node in ast.parse((here / '__init__.pyi').read_text()).body}
    functions = {name for name in ginnel.__all__ if inspect.ismethod(getattr(ginnel, name))}
    assert functions <= names
