"""Outbox: a message is on the log before the device is told so."""

import asyncio
from collections.abc import Iterable, Sequence
from typing import Protocol

from runtime.faults import Moment, reached
from runtime.publisher import Publisher, PublishError
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
        # Each is sent before one is waited for. A task for each would cost as much as to send it.
        sent = [self._send(message) for message in messages]
        if (error := await _first_error(sent)) is not None:
            raise error
        reached(Moment.EDGE_ACKNOWLEDGED)

    def _send(self, message: RawMessage) -> asyncio.Future[None]:
        try:
            return self._publisher.send(
                RAW_TOPICS[message.dialect],
                encode(message),
                key=key(message.tenant, message.device),
                headers=[(IDENTITY_HEADER, message.identity())],
            )
        except PublishError as error:  # one more outcome: those before it are still waited for
            failed = asyncio.get_running_loop().create_future()
            failed.set_exception(error)
            return failed


async def _first_error(sent: Sequence[asyncio.Future[None]]) -> PublishError | None:
    """Wait for every outcome; of those that failed, the first as they were sent."""
    first: PublishError | None = None
    try:
        for outcome in sent:
            try:
                await outcome
            except PublishError as error:
                first = first or error
    except asyncio.CancelledError:
        for outcome in sent:
            outcome.cancel()  # nobody will look at it
        raise
    return first
