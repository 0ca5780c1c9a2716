"""ctypes objects, and blocks of shared memory with a name."""

import ctypes
import os
import subprocess
import sys
import textwrap

import multiprocessing.shared_memory as stock
import multiprocessing.sharedctypes as stock_ctypes
import pytest

import ginnel
from ginnel import managers, shared_memory


class Point(ctypes.Structure):
    _fields_ = [('x', ctypes.c_double), ('y', ctypes.c_double)]


def add(value, numbers, point, raw, times):
    for _ in range(times):
        with value.get_lock():
            value.value += 1
        with numbers.get_lock():
            numbers[1] += 2
    point.x += 0.5
    raw[0] = 9


def test_ctypes_in_children(ctx):
    value, numbers = ctx.Value('i', 5), ctx.Array('i', 3)
    point, raw = ctx.Value(Point, 1, 2), ctx.RawArray('d', [1, 2])
    assert isinstance(value, stock_ctypes.Synchronized)
    assert isinstance(numbers, stock_ctypes.SynchronizedArray)
    assert isinstance(value.get_lock(), type(ctx.RLock()))
    children = [ctx.Process(target=add, args=(value, numbers, point, raw, 200)) for _ in range(2)]
    for child in children:
        child.start()
    for child in children:
        child.join()
    assert (value.value, numbers[:], point.y, raw[:]) == (405, [0, 800, 0], 2, [9, 2])
    assert ctx.Array('c', b'text').value == b'text'
    assert not hasattr(ctx.Value('i', lock=False), 'get_lock')


def die_with(value):
    value.get_lock().acquire()
    value.value = 7
    os._exit(1)


def test_the_lock_of_a_dead_process():
    value = ginnel.Value('i', 1)
    child = ginnel.Process(target=die_with, args=(value,))
    child.start()
    child.join()
    with value:
        assert value.value == 7


def exists(name):
    return os.path.exists('/dev/shm/' + name)


def test_a_block():
    block = shared_memory.SharedMemory(create=True, size=100)
    try:
        assert isinstance(block, stock.SharedMemory) and block.size == 100
        other = shared_memory.SharedMemory(block.name)
        other.buf[:2] = b'ab'
        assert bytes(block.buf[:2]) == b'ab'
        other.close()
        with pytest.raises(FileExistsError):
            shared_memory.SharedMemory(block.name, create=True, size=1)
    finally:
        block.close()
        block.unlink()
    with pytest.raises(FileNotFoundError):
        shared_memory.SharedMemory(block.name)
    for wrong in ({'create': True}, {}, {'create': True, 'size': -1}):
        with pytest.raises(ValueError):
            shared_memory.SharedMemory(**wrong)


def run(program, *args):
    """Runs a program that has nothing to do with this one; what it wrote."""
    command = [sys.executable, '-c', textwrap.dedent(program), *args]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def test_who_attaches_destroys_nothing():
    block = shared_memory.SharedMemory(create=True, size=10)
    names = shared_memory.ShareableList(['a', 1])
    try:
        printed = run('''
            import sys
            from ginnel.shared_memory import ShareableList, SharedMemory
            block, names = SharedMemory(sys.argv[1]), ShareableList(name=sys.argv[2])
            block.buf[0] = 5
            names[1] = 2
            block.close()
            ''', block.name, names.shm.name)
        # Not even a warning about leaks.
        assert printed == ''
        assert block.buf[0] == 5 and list(names) == ['a', 2]
        assert exists(block.name) and exists(names.shm.name)
    finally:
        block.close()
        block.unlink()
        names.shm.close()
        names.shm.unlink()


def test_who_attaches_as_an_owner():
    block = shared_memory.SharedMemory(create=True, size=10, track=False)
    block.close()
    printed = run('''
        import sys
        from ginnel.shared_memory import SharedMemory
        SharedMemory(sys.argv[1], track=True)
        ''', block.name)
    assert 'leaked' in printed and not exists(block.name)


def test_who_attaches_may_destroy():
    block = shared_memory.SharedMemory(create=True, size=10, track=False)
    block.close()
    printed = run('''
        import sys
        from ginnel.shared_memory import SharedMemory
        block = SharedMemory(sys.argv[1])
        block.close()
        block.unlink()
        ''', block.name)
    assert printed == '' and not exists(block.name)


def test_an_owner_that_ends_without_a_word():
    name = run('''
        from ginnel.shared_memory import SharedMemory
        print(SharedMemory(create=True, size=10).name)
        ''').split()[0]
    assert not exists(name)


def test_a_manager_of_blocks():
    with managers.SharedMemoryManager() as manager:
        block, names = manager.SharedMemory(10), manager.ShareableList([1, 'b'])
        assert exists(block.name) and list(names) == [1, 'b']
        assert isinstance(block, shared_memory.SharedMemory)
        assert isinstance(names, shared_memory.ShareableList)
        block.close()
        names.shm.close()
    assert not exists(block.name) and not exists(names.shm.name)
