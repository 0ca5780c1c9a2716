"""The asyncio forms: of connections, queues and locks; what is cancelled has taken nothing."""

import asyncio
import os
import signal
import threading

import pytest

import ginnel

PATIENCE = 30


def run(coroutine):
    """Runs it, but not for ever."""
    async def bounded():
        return await asyncio.wait_for(coroutine, PATIENCE)
    return asyncio.run(bounded())


def echo(connection, other):
    other.close()
    try:
        while True:
            connection.send(connection.recv())
    except EOFError:
        connection.close()


@pytest.fixture(params=['fork', 'spawn', 'forkserver'])
def context(request):
    return ginnel.get_context(request.param)


def test_a_process_answers_a_coroutine(context):
    here, there = context.Pipe()
    process = context.Process(target=echo, args=(there, here))
    process.start()
    there.close()

    async def talk():
        answers = []
        for i in range(100):
            await here.asend({'turn': i})
            answers.append(await here.arecv())
        return answers
    assert run(talk()) == [{'turn': i} for i in range(100)]
    here.close()
    process.join(PATIENCE)
    assert process.exitcode == 0


def test_other_coroutines_run_meanwhile():
    reader, writer = ginnel.Pipe(False)
    seen = []

    async def receive():
        async for message in reader:
            seen.append(message)

    async def main():
        receiver = asyncio.create_task(receive())
        while len(seen) < 50:
            before = len(seen)
            writer.send(before)
            while len(seen) == before:
                await asyncio.sleep(0)
        writer.close()
        await receiver
    run(main())
    assert seen == list(range(50))


def test_a_full_pipe_holds_a_coroutine_back():
    reader, writer = ginnel.Pipe(False)

    async def main():
        async def send():
            for i in range(5000):
                await writer.asend(i)
            writer.close()
        sender = asyncio.create_task(send())
        received = [message async for message in reader]
        await sender
        return received
    assert run(main()) == list(range(5000))


def test_long_messages_are_held_back_too():
    reader, writer = ginnel.Pipe(False)
    block = bytes(8 << 20)

    async def main():
        async def send():
            for _ in range(12):
                await writer.asend_bytes(block)
            writer.close()
        sender = asyncio.create_task(send())
        count = 0
        while not sender.done() or reader.poll():
            try:
                assert len(await reader.arecv_bytes()) == len(block)
            except EOFError:
                break
            count += 1
        return count
    assert run(main()) == 12


def test_what_is_cancelled_has_taken_nothing():
    reader, writer = ginnel.Pipe(False)

    async def main():
        for i in range(20):
            receiver = asyncio.create_task(reader.arecv())
            await asyncio.sleep(0)
            writer.send(i)
            receiver.cancel()
            with pytest.raises(asyncio.CancelledError):
                await receiver
            assert await reader.arecv() == i
    run(main())


def test_several_coroutines_at_one_end():
    reader, writer = ginnel.Pipe(False)

    async def main():
        receivers = [asyncio.create_task(reader.arecv()) for _ in range(10)]
        await asyncio.sleep(0)
        for i in range(10):
            writer.send(i)
        return sorted(await asyncio.gather(*receivers))
    assert run(main()) == list(range(10))


def test_the_death_of_the_other_side_is_noticed(context):
    here, there = context.Pipe()
    process = context.Process(target=echo, args=(there, here))
    process.start()
    there.close()

    async def main():
        await here.asend('alive')
        assert await here.arecv() == 'alive'
        receiver = asyncio.create_task(here.arecv())
        await asyncio.sleep(0)
        os.kill(process.pid, signal.SIGKILL)
        with pytest.raises(EOFError):
            await receiver
        with pytest.raises(BrokenPipeError):
            await here.asend('dead')
    run(main())
    process.join(PATIENCE)


def test_a_plain_reader_of_the_loop():
    reader, writer = ginnel.Pipe(False)

    async def main():
        loop = asyncio.get_running_loop()
        calls = asyncio.Queue()
        loop.add_reader(reader.fileno(), calls.put_nowait, None)
        thread = threading.Thread(target=lambda: [writer.send(i) for i in range(3)])
        thread.start()
        found = []
        while len(found) < 3:
            await calls.get()
            while reader.poll():
                found.append(reader.recv())
        loop.remove_reader(reader.fileno())
        thread.join()
        return found
    assert run(main()) == [0, 1, 2]


def producer(queue):
    for i in range(200):
        queue.put(i)


def test_a_queue(context):
    queue = context.Queue()
    process = context.Process(target=producer, args=(queue,))
    process.start()

    async def main():
        return [await queue.aget() for _ in range(200)]
    assert run(main()) == list(range(200))
    process.join(PATIENCE)


def test_a_queue_in_time():
    from queue import Empty, Full
    queue = ginnel.Queue(1)

    async def main():
        with pytest.raises(Empty):
            await queue.aget(timeout=0.02)
        await queue.aput('one')
        with pytest.raises(Full):
            await queue.aput('two', timeout=0.02)
        second = asyncio.create_task(queue.aput('two'))
        assert await queue.aget() == 'one'
        await second
        async for message in queue:
            return message
    assert run(main()) == 'two'


def test_a_semaphore_lets_so_many_in():
    semaphore = ginnel.Semaphore(3)
    inside, most = 0, 0

    async def enter():
        nonlocal inside, most
        async with semaphore:
            inside += 1
            most = max(most, inside)
            await asyncio.sleep(0.001)
            inside -= 1

    async def main():
        await asyncio.gather(*(enter() for _ in range(12)))
    run(main())
    assert (inside, most) == (0, 3)


def test_a_lock_in_time():
    lock = ginnel.Lock()

    async def main():
        assert await lock.aacquire()
        assert not await lock.aacquire(timeout=0.02)
        lock.release()
        async with lock:
            assert not lock.acquire(False)
        assert lock.acquire(False)
    run(main())
