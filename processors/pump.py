"""Pump: several chunks on their way at once, each acknowledged in the order of the log."""

import asyncio
from collections.abc import Callable
from typing import Any, Protocol

from processors.refinery import Taken
from runtime.faults import Moment, reached


class Refining(Protocol):
    """What chunks are put through: `processors.refinery.Refinery`."""

    async def take(self, chunk: Any) -> Taken | None:
        """Process a chunk; None: nothing to wait for."""


class Pump:
    """Takes chunks from a Faust stream, and counts each as processed in the order of the log.

    Whatever fails here, also the delivery of a block, fails `run`. At most `in_flight` chunks are queued behind the one whose
    acknowledgement is awaited.
    """

    def __init__(
        self, refinery: Refining, acknowledged: Callable[[Any, Any, int], None], *, in_flight: int
    ) -> None:
        self._refinery = refinery
        self._acknowledged = acknowledged
        self._sent: asyncio.Queue[tuple[Any, Taken | None]] = asyncio.Queue(in_flight)
        self._outstanding = 0
        self._settled = asyncio.Event()
        self._settled.set()

    @property
    def outstanding(self) -> int:
        """Chunks that were taken, and are not acknowledged."""
        return self._outstanding

    async def settled(self) -> None:
        """Return when no chunk is on its way, or nothing will ever bring one home."""
        await self._settled.wait()

    async def run(self, stream: Any) -> None:
        """Pump until the stream ends or something fails."""
        try:
            async with asyncio.TaskGroup() as group:
                acknowledging = group.create_task(self._acknowledge(stream))
                async for event in stream.events():
                    self._outstanding += 1
                    self._settled.clear()
                    await self._sent.put((event, await self._refinery.take(event.message)))
                    # As long as nothing is full, nothing of this waits; and the group wants signs of life, from this loop.
                    await asyncio.sleep(0)
                acknowledging.cancel()
        finally:
            self._settled.set()

    async def _acknowledge(self, stream: Any) -> None:
        while True:
            event, taken = await self._sent.get()
            if taken is not None:
                await taken.delivered
                reached(Moment.BLOCKS_ACKNOWLEDGED)
                self._acknowledged(taken.owned, event.message.tp, taken.offset)
            await stream.ack(event)
            self._outstanding -= 1
            if not self._outstanding:
                self._settled.set()
