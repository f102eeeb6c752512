"""Outbox: a message is on the log before the device is told so."""

import asyncio
from collections.abc import Iterable
from typing import Protocol

from runtime.faults import Moment, reached
from runtime.publisher import Publisher, PublishError
from schemas.codec import encode_all
from schemas.raw_message import IDENTITY_HEADER, RawMessage, write
from schemas.topics import RAW_TOPICS, key


class Outbox(Protocol):
    """Where an edge puts what it accepted."""

    def put(self, messages: Iterable[RawMessage]) -> asyncio.Future[None]:
        """Send every message at once; done when the log has all of them, and only then may the device hear "accepted".

        The future fails with a `runtime.publisher.PublishError` when not all of them are known to be on the log; it says
        so once the fate of each is known. Those that are there will be taken for duplicates when the client tries again.
        Who stops waiting takes nothing back.
        """


class KafkaOutbox:
    """The outbox of a running edge: one raw record a message, keyed by device, identity as a header."""

    def __init__(self, publisher: Publisher) -> None:
        self._publisher = publisher

    def put(self, messages: Iterable[RawMessage]) -> asyncio.Future[None]:
        """See `Outbox.put`."""
        reached(Moment.EDGE_RECEIVED)
        kept = list(messages)
        values = encode_all(kept) if len(kept) > 1 else map(write, kept)
        under_way = _UnderWay(self._publisher.future(), len(kept))
        delivered = self._publisher.telling(under_way.settled)
        for message, value in zip(kept, values, strict=True):
            try:
                self._publisher.post(
                    RAW_TOPICS[message.dialect],
                    value,
                    delivered,
                    key=key(message.tenant, message.device),
                    headers=[(IDENTITY_HEADER, message.identity())],
                )
            except PublishError as error:  # one more outcome: those before it are still waited for
                under_way.settled(error)
        under_way.settled(None)
        return under_way.done


class _UnderWay:
    """The records of one put. It counts what is open: a future for each would cost as much as to send it."""

    __slots__ = ("_error", "_open", "done")

    def __init__(self, done: asyncio.Future[None], records: int) -> None:
        self.done = done
        self._open = records + 1  # that all are sent
        self._error: PublishError | None = None
        """The first that was known."""

    def settled(self, error: PublishError | None) -> None:
        """One more is known."""
        self._error = self._error or error
        self._open -= 1
        if self._open == 0 and not self.done.done():  # who waited may have gone
            if self._error is not None:
                self.done.set_exception(self._error)
                return
            reached(Moment.EDGE_ACKNOWLEDGED)
            self.done.set_result(None)
