"""Kafka proxy: a second way to the broker, on which produced records can be held up while all else passes."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from unittest import mock

from headrace.stack.kafka import Kafka
from tests.crash.listener import Listener

_PRODUCE = (0).to_bytes(2, "big")
"""Kafka's number of this request, at the beginning of each."""


class KafkaProxy(Listener):
    """Kafka tells clients that come this way to go on doing so."""

    def __init__(self, port: int, upstream: int) -> None:
        super().__init__(port, upstream)
        self.bootstrap = f"127.0.0.1:{port}"
        self._held = b""
        self._passes = asyncio.Event()
        self._passes.set()

    def second_door(self) -> contextlib.AbstractContextManager[object]:
        """Inside the block, a Kafka is started with a listener for this proxy."""
        properties = Kafka.properties

        def extended(kafka: Kafka) -> Mapping[str, object]:
            given = properties(kafka)
            return {
                **given,
                "listeners": f"{given['listeners']},PROXIED://127.0.0.1:{self._upstream}",
                "advertised.listeners": f"{given['advertised.listeners']},PROXIED://{self.bootstrap}",
                "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,PROXIED:PLAINTEXT",
                "inter.broker.listener.name": "PLAINTEXT",
            }

        return mock.patch.object(Kafka, "properties", extended)

    @contextlib.asynccontextmanager
    async def holding(self, topic: str) -> AsyncIterator[None]:
        """Inside the block, nothing that is produced to topics whose names begin so arrives.

        In the end it is lost with its connection; whoever still lives sends it again.
        """
        self._held = topic.encode()
        self._passes.clear()
        try:
            yield
        finally:
            self._held = b""
            self._passes.set()

    async def _pass_on(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        up_reader: asyncio.StreamReader,
        up_writer: asyncio.StreamWriter,
    ) -> None:
        ways = [
            asyncio.create_task(self._requests(reader, up_writer)),
            asyncio.create_task(_answers(up_reader, writer)),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)

    async def _requests(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while True:
                size = await reader.readexactly(4)
                request = await reader.readexactly(int.from_bytes(size, "big"))
                if request.startswith(_PRODUCE) and self._held and self._held in request:
                    await self._passes.wait()
                    return
                writer.write(size + request)
                await writer.drain()


async def _answers(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while piece := await reader.read(1 << 16):
            writer.write(piece)
            await writer.drain()
