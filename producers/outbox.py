"""Outbox: a message is on the log before the device is told so."""

import asyncio
from collections.abc import Iterable
from functools import partial
from typing import Protocol

from runtime.faults import Moment, reached
from runtime.publisher import Publisher, PublishError, Settled
from schemas.codec import encode
from schemas.raw_message import IDENTITY_HEADER, RawMessage
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
        under_way = _UnderWay()
        for number, message in enumerate(messages):
            settled = under_way.another(number)
            try:
                self._publisher.post(
                    RAW_TOPICS[message.dialect],
                    encode(message),
                    settled,
                    key=key(message.tenant, message.device),
                    headers=[(IDENTITY_HEADER, message.identity())],
                )
            except PublishError as error:  # one more outcome: those before it are still waited for
                settled(error)
        under_way.end()
        return under_way.done


class _UnderWay:
    """The records of one put. It counts what is open: a future for each would cost as much as to send it."""

    __slots__ = ("_first", "_open", "done")

    def __init__(self) -> None:
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._open = 1  # that all are sent
        self._first: tuple[int, PublishError] | None = None
        """Of the records that failed, the first as they were sent."""

    def another(self, number: int) -> Settled:
        """Wait for one more record; the answer takes its outcome."""
        self._open += 1
        return partial(self._settled, number)

    def end(self) -> None:
        """Wait for no further record, but for those that are open."""
        self._open -= 1
        if self._open == 0 and not self.done.done():  # who waited may have gone
            if self._first is not None:
                self.done.set_exception(self._first[1])
                return
            reached(Moment.EDGE_ACKNOWLEDGED)
            self.done.set_result(None)

    def _settled(self, number: int, error: PublishError | None) -> None:
        if error is not None and (self._first is None or number < self._first[0]):
            self._first = number, error
        self.end()
