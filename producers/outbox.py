"""Outbox: a message is on the log before the device is told so."""

import asyncio
from collections.abc import Iterable
from typing import Protocol

from runtime.faults import Moment, reached
from runtime.publisher import Publisher
from schemas.codec import encode
from schemas.raw_message import IDENTITY_HEADER, RawMessage
from schemas.topics import RAW_TOPICS, key


class Outbox(Protocol):
    """Where an edge puts what it accepted."""

    async def put(self, messages: Iterable[RawMessage]) -> None:
        """Return when the log has every one of them; only then may the device hear "accepted".

        Raises:
            runtime.publisher.PublishError: not all of them are known to be on the log. Those that are will be taken for
                duplicates when the client tries again.

        """


class KafkaOutbox:
    """The outbox of a running edge: one raw record a message, keyed by device, identity as a header."""

    def __init__(self, publisher: Publisher) -> None:
        self._publisher = publisher

    async def put(self, messages: Iterable[RawMessage]) -> None:
        """See `Outbox.put`."""
        reached(Moment.EDGE_RECEIVED)
        sent = [self._send(message) for message in messages]
        for outcome in await asyncio.gather(*sent, return_exceptions=True):
            if outcome is not None:
                raise outcome
        reached(Moment.EDGE_ACKNOWLEDGED)

    async def _send(self, message: RawMessage) -> None:
        # A coroutine, so that a full queue is one more outcome and the messages before it are still waited for.
        await self._publisher.send(
            RAW_TOPICS[message.dialect],
            encode(message),
            key=key(message.tenant, message.device),
            headers=[(IDENTITY_HEADER, message.identity())],
        )
