"""Connections: messages, ends, closing and dying, readiness, and how ends travel."""

import array
import multiprocessing
import multiprocessing.connection
import os
import pickle
import select
import selectors
import signal
import socket
import threading
import time

import pytest

import ginnel
from ginnel.connection import Client, Connection, Listener, wait

PATIENCE = 30


@pytest.fixture(params=['fork', 'spawn', 'forkserver'])
def context(request):
    return ginnel.get_context(request.param)


def started(context, target, *args):
    process = context.Process(target=target, args=args, daemon=True)
    process.start()
    return process


def ended(process):
    process.join(PATIENCE)
    assert process.exitcode is not None
    return process.exitcode


# -- messages ---------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize('message', [
    None, True, 7, -2**63, 2**70, 1.5, 'word', '\ud800', b'', b'bytes', [1, [2, [3]]], (1, ('two', None)),
    {'key': {'of': 'dicts'}}, {1, 2}, complex(1, 2), range(4), 'x' * 5000, b'y' * 100_000, list(range(20_000))])
def test_what_is_sent_arrives(message):
    here, there = ginnel.Pipe()
    here.send(message)
    received = there.recv()
    assert received == message and type(received) is type(message)
    there.send(message)
    assert here.recv() == message


def test_bytes_and_objects_are_the_same_stream():
    reader, writer = ginnel.Pipe(False)
    message = {'key': [1, 2.5, 'three']}
    writer.send(message)
    assert pickle.loads(reader.recv_bytes()) == message
    writer.send_bytes(pickle.dumps(message))
    assert reader.recv() == message
    writer.send({1, 2})
    assert pickle.loads(reader.recv_bytes()) == {1, 2}


def test_parts_of_buffers():
    reader, writer = ginnel.Pipe(False)
    writer.send_bytes(b'abcdef', 2)
    writer.send_bytes(bytearray(b'abcdef'), 2, 3)
    writer.send_bytes(memoryview(b'abcdef')[1:3])
    writer.send_bytes(array.array('i', [1, 2]), 4)
    writer.send_bytes(b'', 0, 0)
    assert [reader.recv_bytes() for _ in range(5)] == [b'cdef', b'cde', b'bc', b'\2\0\0\0', b'']
    for wrong in [(-1,), (7,), (2, -1), (2, 5)]:
        with pytest.raises(ValueError):
            writer.send_bytes(b'abcdef', *wrong)
    with pytest.raises(TypeError):
        writer.send_bytes('text')


def test_into_buffers():
    reader, writer = ginnel.Pipe(False)
    numbers = array.array('i', [0] * 4)
    writer.send_bytes(array.array('i', [5, 6]))
    assert reader.recv_bytes_into(numbers, 4) == 8
    assert numbers.tolist() == [0, 5, 6, 0]
    writer.send_bytes(b'too long')
    with pytest.raises(ginnel.BufferTooShort) as caught:
        reader.recv_bytes_into(bytearray(3))
    assert caught.value.args == (b'too long',)
    for wrong in [-1, 4]:
        with pytest.raises(ValueError):
            reader.recv_bytes_into(bytearray(3), wrong)


def test_more_than_maxlength_ends_the_way_in():
    here, there = ginnel.Pipe()
    with pytest.raises(ValueError):
        there.recv_bytes(-1)
    here.send_bytes(b'12345')
    assert there.recv_bytes(5) == b'12345'
    here.send_bytes(b'123456')
    with pytest.raises(OSError, match='bad message length'):
        there.recv_bytes(5)
    assert not there.readable and there.writable
    reader, writer = ginnel.Pipe(False)
    writer.send_bytes(b'123456')
    with pytest.raises(OSError, match='bad message length'):
        reader.recv_bytes(5)
    assert reader.closed


class Unpicklable:
    def __reduce__(self):
        raise LookupError('not this one')


class Unloadable:
    def __reduce__(self):
        return int, ('no number',)


def test_what_cannot_be_pickled_was_not_sent():
    reader, writer = ginnel.Pipe(False)
    with pytest.raises(LookupError):
        writer.send(Unpicklable())
    writer.send(Unloadable())
    writer.send('next')
    with pytest.raises(ValueError):
        reader.recv()
    assert reader.recv() == 'next'


class Sender:
    """Sends while it is pickled."""

    def __init__(self, through):
        self.through = through

    def __reduce__(self):
        self.through.send('inner')
        return str, ('outer',)


def test_a_reducer_may_send():
    reader, writer = ginnel.Pipe(False)
    writer.send([Sender(writer)])
    assert [reader.recv(), reader.recv()] == ['inner', ['outer']]


def test_a_large_message(context):
    here, there = context.Pipe()
    process = started(context, echo, there, here)
    there.close()
    message = os.urandom(1 << 20) * 32
    here.send_bytes(message)
    assert here.recv_bytes() == message
    here.send(message)
    assert here.recv() == message
    here.close()
    assert ended(process) == 0


def test_what_no_pipe_takes_at_once_is_sent_when_it_is_received():
    reader, writer = ginnel.Pipe(False)
    thread = threading.Thread(target=writer.send_bytes, args=(bytes((16 << 20) + 1),))
    thread.start()
    # However long one looks, it has not come back.
    thread.join(0.05)
    assert thread.is_alive()
    assert len(reader.recv_bytes()) == (16 << 20) + 1
    thread.join()


def echo(connection, *others):
    # A fork has everything that its parent has.
    for other in others:
        other.close()
    try:
        while True:
            connection.send_bytes(connection.recv_bytes())
    except EOFError:
        pass


# -- ends -------------------------------------------------------------------------------------------------------------

def test_ends_are_what_they_are():
    reader, writer = ginnel.Pipe(duplex=False)
    assert (reader.readable, reader.writable, writer.readable, writer.writable) == (True, False, False, True)
    assert isinstance(reader, Connection) and isinstance(writer, multiprocessing.connection.Connection)
    for wrong in [lambda: reader.send(1), lambda: reader.send_bytes(b'1'), writer.recv, writer.recv_bytes,
                  writer.poll, lambda: writer.recv_bytes_into(bytearray(1))]:
        with pytest.raises(OSError):
            wrong()
    with reader as same:
        assert same is reader and not reader.closed
    assert reader.closed
    reader.close()
    for wrong in [reader.recv, reader.poll, reader.fileno]:
        with pytest.raises(OSError, match='closed'):
            wrong()


def test_the_last_messages_and_then_the_end():
    reader, writer = ginnel.Pipe(False)
    writer.send('last')
    writer.close()
    assert reader.poll() and reader.recv() == 'last'
    assert reader.poll(None)
    for _ in range(2):
        with pytest.raises(EOFError):
            reader.recv()


def test_nobody_to_send_to():
    reader, writer = ginnel.Pipe(False)
    reader.close()
    with pytest.raises(BrokenPipeError) as caught:
        writer.send('nobody')
    assert caught.value.errno == 32
    here, there = ginnel.Pipe()
    there.send('before')
    del there
    assert here.recv() == 'before'
    with pytest.raises(BrokenPipeError):
        here.send_bytes(b'nobody')
    with pytest.raises(EOFError):
        here.recv()


def test_a_full_pipe_waits():
    reader, writer = ginnel.Pipe(False)
    sent = 0
    while writer._try_send(sent):
        sent += 1
    assert sent >= 256
    thread = threading.Thread(target=writer.send, args=(sent,))
    thread.start()
    assert [reader.recv() for _ in range(sent + 1)] == list(range(sent + 1))
    thread.join(PATIENCE)
    assert not thread.is_alive()


def test_long_messages_wait_for_those_unread():
    reader, writer = ginnel.Pipe(False)
    block = bytes(8 << 20)
    sent = 0
    while writer._try_send_bytes(block):
        sent += 1
    assert 2 <= sent <= 8
    assert writer._try_send('a short one')
    for _ in range(sent):
        assert len(reader.recv_bytes()) == len(block)
    assert reader.recv() == 'a short one'
    assert writer._try_send_bytes(block)


def test_several_threads_at_one_end():
    reader, writer = ginnel.Pipe(False)
    found = []
    threads = [threading.Thread(target=lambda: found.extend(iter(reader.recv, None))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for i in range(2000):
        writer.send(i)
    for _ in threads:
        writer.send(None)
    for thread in threads:
        thread.join(PATIENCE)
    assert sorted(found) == list(range(2000))


# -- processes --------------------------------------------------------------------------------------------------------

def send_and_close(connection, other):
    other.close()
    connection.send('from the child')
    connection.close()
    time.sleep(PATIENCE)


def test_a_child_closes(context):
    here, there = context.Pipe()
    process = started(context, send_and_close, there, here)
    there.close()
    assert here.recv() == 'from the child'
    with pytest.raises(EOFError):
        here.recv()
    with pytest.raises(BrokenPipeError):
        here.send('nobody')
    process.kill()
    ended(process)


def send_and_wait(connection, other):
    other.close()
    connection.send('alive')
    connection.recv()


def test_a_child_is_killed(context):
    here, there = context.Pipe()
    process = started(context, send_and_wait, there, here)
    there.close()
    assert here.recv() == 'alive'
    process.kill()
    with pytest.raises(EOFError):
        here.recv()
    with pytest.raises(BrokenPipeError):
        here.send('nobody')
    assert ended(process) == -signal.SIGKILL


def numbers(connection, start):
    for i in range(start, start + 500):
        connection.send(i)
    connection.close()


def test_two_children_at_one_end(context):
    reader, writer = context.Pipe(False)
    processes = [started(context, numbers, writer, start) for start in (0, 500)]
    writer.close()
    found = []
    with pytest.raises(EOFError):
        while True:
            found.append(reader.recv())
    assert sorted(found) == list(range(1000))
    assert [i for i in found if i < 500] == list(range(500))
    assert [ended(process) for process in processes] == [0, 0]


def test_a_pipe_between_children(context):
    reader, writer = context.Pipe(False)
    answers, answer = context.Pipe(False)
    processes = [started(context, numbers, writer, 0), started(context, add, reader, answer, writer)]
    for end in (reader, writer, answer):
        end.close()
    assert answers.recv() == sum(range(500))
    assert [ended(process) for process in processes] == [0, 0]


def add(reader, answer, writer):
    writer.close()
    total = 0
    try:
        while True:
            total += reader.recv()
    except EOFError:
        answer.send(total)


def test_a_child_that_never_got_its_end():
    context = ginnel.get_context('spawn')
    reader, writer = context.Pipe(False)
    process = context.Process(target=numbers, args=(writer, Unloadable()))
    process.start()
    writer.close()
    assert ended(process) == 1
    process.close()
    with pytest.raises(EOFError):
        reader.recv()


def answer_through(connection):
    end = connection.recv()
    connection.close()
    end.send('through an end that was sent')
    end.close()


def test_ends_travel(context):
    here, there = context.Pipe()
    process = started(context, answer_through, there)
    there.close()
    reader, writer = context.Pipe(False)
    here.send(writer)
    writer.close()
    assert reader.recv() == 'through an end that was sent'
    with pytest.raises(EOFError):
        reader.recv()
    assert ended(process) == 0


def test_an_end_that_nobody_received_is_closed():
    here, there = ginnel.Pipe()
    reader, writer = ginnel.Pipe(False)
    here.send([writer])
    writer.close()
    there.close()
    here.close()
    with pytest.raises(EOFError):
        reader.recv()


def test_an_end_in_a_pickle_of_its_own():
    reader, writer = ginnel.Pipe(False)
    same = multiprocessing.reduction.ForkingPickler.loads(multiprocessing.reduction.ForkingPickler.dumps(writer))
    writer.close()
    same.send('still open')
    assert reader.recv() == 'still open'
    same.close()
    with pytest.raises(EOFError):
        reader.recv()


def test_listeners_are_those_of_the_standard_library():
    with Listener() as listener:
        thread = threading.Thread(target=lambda: Client(listener.address).send('hello'))
        thread.start()
        with listener.accept() as connection:
            assert isinstance(connection, Connection) and connection.recv() == 'hello'
        thread.join(PATIENCE)


# -- readiness --------------------------------------------------------------------------------------------------------

def readable(fd):
    return bool(select.select([fd], [], [], 0)[0])


def test_the_descriptor_is_level_triggered():
    reader, writer = ginnel.Pipe(False)
    writer.send(0)
    fd = reader.fileno()
    assert fd == reader.fileno() and readable(fd) and readable(fd)
    assert reader.recv() == 0 and not readable(fd)
    writer.send(1)
    writer.send(2)
    assert readable(fd)
    assert reader.recv() == 1 and readable(fd)
    assert reader.poll() and readable(fd)
    assert reader.recv() == 2 and not readable(fd) and not reader.poll() and not readable(fd)
    writer.close()
    assert readable(fd)
    with pytest.raises(EOFError):
        reader.recv()
    assert readable(fd)


def test_selectors_of_others(context):
    reader, writer = context.Pipe(False)
    process = started(context, numbers, writer, 0)
    writer.close()
    found = []
    with selectors.DefaultSelector() as selector:
        selector.register(reader, selectors.EVENT_READ)
        with pytest.raises(EOFError):
            while selector.select(PATIENCE):
                found.append(reader.recv())
    assert found == list(range(500))
    assert ended(process) == 0


def test_a_selector_sees_a_death(context):
    here, there = context.Pipe()
    process = started(context, send_and_wait, there, here)
    there.close()
    with selectors.DefaultSelector() as selector:
        selector.register(here, selectors.EVENT_READ)
        assert selector.select(PATIENCE) and here.recv() == 'alive'
        process.kill()
        assert selector.select(PATIENCE)
    with pytest.raises(EOFError):
        here.recv()
    ended(process)


def test_the_wait_of_the_standard_library():
    reader, writer = ginnel.Pipe(False)
    assert multiprocessing.connection.wait([reader], 0) == []
    writer.send(1)
    assert multiprocessing.connection.wait([reader], PATIENCE) == [reader]


def test_poll_in_time():
    reader, writer = ginnel.Pipe(False)
    assert not reader.poll() and not reader.poll(-1)
    start = time.monotonic()
    assert not reader.poll(0.07)
    assert time.monotonic() - start >= 0.07
    timer = threading.Timer(0.02, writer.send, ['in time'])
    timer.start()
    assert reader.poll(None) and reader.poll(PATIENCE)
    timer.join()


def test_a_signal_handler_runs_in_a_recv():
    reader, writer = ginnel.Pipe(False)

    def raise_it(*_):
        raise InterruptedError('from the handler')
    before = signal.signal(signal.SIGALRM, raise_it)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        with pytest.raises(InterruptedError, match='handler'):
            reader.recv()
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        with pytest.raises(InterruptedError, match='handler'):
            reader.poll(None)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    writer.send('usable')
    assert reader.recv() == 'usable'


def test_wait_for_all_kinds(context):
    reader, writer = context.Pipe(False)
    stock, stock_writer = multiprocessing.Pipe(False)
    left, right = socket.socketpair()
    process = started(context, time.sleep, PATIENCE)
    everything = [reader, stock, left, process.sentinel]
    assert wait([], 0) == [] and wait(everything, 0) == []
    start = time.monotonic()
    assert wait(everything, 0.12) == []
    assert time.monotonic() - start >= 0.12
    writer.send(1)
    assert wait(everything, PATIENCE) == [reader]
    right.send(b'1')
    stock_writer.send(1)
    assert wait(everything) == [reader, stock, left]
    assert reader.recv() == 1 and wait([reader], 0) == []
    process.kill()
    ended(process)
    assert wait([reader, process.sentinel], PATIENCE) == [process.sentinel]
    timer = threading.Timer(0.02, writer.send, ['late'])
    timer.start()
    assert wait([reader], PATIENCE) == [reader]
    timer.join()
    left.close()
    right.close()


def test_wait_sees_a_death(context):
    here, there = context.Pipe()
    process = started(context, send_and_wait, there, here)
    there.close()
    assert wait([here], PATIENCE) == [here] and here.recv() == 'alive'
    process.kill()
    assert wait([here], PATIENCE) == [here]
    with pytest.raises(EOFError):
        here.recv()
    ended(process)


def test_descriptors_are_given_back():
    def count():
        return len(os.listdir('/proc/self/fd'))
    ginnel.Pipe()[0].fileno()
    before = count()
    for _ in range(50):
        reader, writer = ginnel.Pipe(False)
        reader.fileno()
        wait([reader], 0)
        writer.send(1)
        assert reader.recv() == 1
        reader.close()
    del reader, writer
    deadline = time.monotonic() + PATIENCE
    while count() > before and time.monotonic() < deadline:
        pass
    assert count() == before


def test_a_descriptor_in_a_forked_child():
    context = ginnel.get_context('fork')
    here, there = context.Pipe()
    assert not readable(here.fileno()) and not readable(there.fileno())
    process = started(context, select_in_child, there)
    there.send('to the parent')
    assert readable(here.fileno()) and here.recv() == 'to the parent'
    here.send('to the child')
    assert here.recv() == 'got to the child'
    assert ended(process) == 0


def select_in_child(connection):
    assert select.select([connection.fileno()], [], [], PATIENCE)[0]
    connection.send('got ' + connection.recv())
