import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from processors.dedupe import Window
from processors.limit import DeadLetterLimit
from processors.partitions import Owned
from processors.pump import Pump
from processors.refinery import Taken
from runtime.publisher import Broken
from tests.support.raw import SOURCE

OWNED = Owned(SOURCE, 0, Window(seconds=60), DeadLetterLimit(share=0.5, window=10), 1)


class FakeStream:
    """Delivers events, then says so and waits for ever, as a stream does."""

    def __init__(self, count: int) -> None:
        self.delivered = asyncio.Event()
        self.acknowledged = []
        self._events = [
            SimpleNamespace(message=SimpleNamespace(tp="tp", offset=n, generation_id=1)) for n in range(count)
        ]

    async def events(self):
        """See `faust.Stream.events`."""
        for event in self._events:
            yield event
        self.delivered.set()
        await asyncio.Event().wait()

    async def ack(self, event):
        """See `faust.Stream.ack`."""
        self.acknowledged.append(event.message.offset)


class FakeRefinery:
    """Each chunk is done when the test says so."""

    def __init__(self, outcomes: list[Any]) -> None:
        self.outcomes = outcomes
        self.taken = []

    async def take(self, chunk):
        """See `processors.refinery.Refinery`."""
        self.taken.append(chunk.offset)
        outcome = self.outcomes[chunk.offset]
        return None if outcome is None else Taken(OWNED, chunk.offset, outcome)


@pytest.fixture(name="processed")
def _processed():
    """The offsets that may be committed."""
    return []


def done():
    """A chunk whose records are all acknowledged."""
    future = asyncio.get_running_loop().create_future()
    future.set_result(None)
    return future


def failed():
    """A chunk that could not be delivered."""
    future = asyncio.get_running_loop().create_future()
    future.set_exception(Broken("gone"))
    return future


def pumping(refinery, processed, in_flight=4):
    """A pump that notes what it reports."""
    return Pump(refinery, lambda _, __, offset: processed.append(offset), in_flight=in_flight)


async def running(stream, refinery, processed):
    """Run until everything is delivered, then stop."""
    task = asyncio.create_task(pumping(refinery, processed).run(stream))
    await asyncio.wait_for(stream.delivered.wait(), 10)
    await asyncio.wait([task], timeout=0)
    task.cancel()
    await asyncio.wait([task])


async def test_chunks_are_processed_in_order(processed):
    """A chunk that is acknowledged early waits for those before it."""
    stream, late = FakeStream(3), asyncio.get_running_loop().create_future()
    await running(stream, FakeRefinery([done(), late, done()]), processed)

    assert ([0], [0]) == (processed, stream.acknowledged)


async def test_a_dropped_chunk_is_let_go(processed):
    """A chunk that led to nothing is acknowledged, and commits nothing."""
    stream = FakeStream(2)
    await running(stream, FakeRefinery([None, done()]), processed)

    assert ([1], [0, 1]) == (processed, stream.acknowledged)


async def test_only_so_many_chunks_are_on_their_way():
    """Memory is bounded: with nothing acknowledged, the next chunk waits."""
    stream = FakeStream(10)
    refinery = FakeRefinery([asyncio.get_running_loop().create_future() for _ in range(10)])
    pump = pumping(refinery, [], in_flight=2)
    task = asyncio.create_task(pump.run(stream))
    for _ in range(50):
        await asyncio.sleep(0)
    outstanding = pump.outstanding
    task.cancel()
    await asyncio.wait([task])

    # One is waited for, two are queued, one waits for a place in the queue.
    assert ([0, 1, 2, 3], 4) == (refinery.taken, outstanding)


async def test_a_failed_delivery_fails_the_agent(processed):
    """If one block cannot be delivered the agent fails, and neither it nor what comes after it may be committed."""
    stream = FakeStream(3)

    with pytest.raises(ExceptionGroup) as raised:
        await asyncio.wait_for(
            pumping(FakeRefinery([done(), failed(), done()]), processed).run(stream), timeout=10
        )

    assert raised.group_contains(Broken)
    assert [0] == processed


async def test_a_failed_chunk_fails_the_agent():
    """What goes wrong in a chunk itself, such as a window that cannot be rebuilt, reaches the agent too."""

    class Failing(FakeRefinery):
        async def take(self, chunk):
            raise RuntimeError("no window")

    with pytest.raises(ExceptionGroup) as raised:
        await asyncio.wait_for(pumping(Failing([]), []).run(FakeStream(1)), timeout=10)

    assert raised.group_contains(RuntimeError, match="no window")


async def test_a_hand_over_waits_for_what_is_on_its_way(processed):
    """Handing over, nothing is left behind that will still be acknowledged."""
    stream, late = FakeStream(2), asyncio.get_running_loop().create_future()
    pump = pumping(FakeRefinery([done(), late]), processed)
    task = asyncio.create_task(pump.run(stream))
    await asyncio.wait_for(stream.delivered.wait(), 10)
    settled = asyncio.create_task(pump.settled())
    await asyncio.wait([settled], timeout=0)
    early = settled.done()
    late.set_result(None)
    await asyncio.wait_for(settled, 10)
    task.cancel()
    await asyncio.wait([task])

    assert (False, [0, 1]) == (early, processed)


async def test_a_hand_over_waits_for_nothing_that_failed(processed):
    """When the agent has failed nobody will acknowledge anything, and nothing is waited for."""
    pump = pumping(FakeRefinery([failed()]), processed)
    with pytest.raises(ExceptionGroup):
        await asyncio.wait_for(pump.run(FakeStream(1)), 10)

    await asyncio.wait_for(pump.settled(), 10)


async def test_the_loop_has_its_turn_after_each_chunk(processed):
    """Also while nothing has to be waited for: in the same loop the process keeps its place in the group."""
    turns, taken_at = [], []

    class Watched(FakeRefinery):
        """Notes at which turn of the loop a chunk is taken."""

        async def take(self, chunk):
            """See `processors.refinery.Refinery`."""
            taken_at.append(len(turns))
            return await super().take(chunk)

    async def count():
        while True:
            turns.append(None)
            await asyncio.sleep(0)

    stream = FakeStream(3)
    counting = asyncio.create_task(count())
    pump = asyncio.create_task(pumping(Watched([None] * 3), processed).run(stream))
    await stream.delivered.wait()
    for task in (counting, pump):
        task.cancel()
    await asyncio.wait([counting, pump])

    assert taken_at == sorted(set(taken_at))
