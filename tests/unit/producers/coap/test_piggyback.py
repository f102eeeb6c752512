"""What waits for an answer is late after its time, in order, by one timer."""

import asyncio

from producers.coap.piggyback import Piggyback


async def test_what_waits_too_long_is_late():
    """Each is late once its time is over, the first first; what ended before never is."""
    late: asyncio.Queue[str] = asyncio.Queue()
    waiting = Piggyback(0.01, late.put_nowait)
    for name in ("a", "b", "c"):
        waiting.wait(name)
    assert waiting.end("b")
    assert [await late.get(), await late.get()] == ["a", "c"]
    assert late.empty()


async def test_what_is_late_waits_no_more():
    """Who asks later hears that it is over."""
    late: asyncio.Queue[str] = asyncio.Queue()
    waiting = Piggyback(0, late.put_nowait)
    waiting.wait("a")
    await late.get()
    assert not waiting.end("a")
    assert not waiting.end("never seen")


async def test_the_timer_goes_on():
    """What comes while others wait is late in its own time."""
    late: asyncio.Queue[str] = asyncio.Queue()
    waiting = Piggyback(0.01, late.put_nowait)
    for name in ("a", "b", "c"):
        waiting.wait(name)
        assert await late.get() == name


async def test_nothing_is_late_after_the_end():
    """When it is closed nothing is late any more."""
    late: asyncio.Queue[str] = asyncio.Queue()
    waiting, another = Piggyback(0, late.put_nowait), Piggyback(0, late.put_nowait)
    waiting.wait("closed")
    waiting.close()
    another.wait("open")
    assert await late.get() == "open"
    assert late.empty()
