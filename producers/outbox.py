"""Outbox: a message is on the log before the device is told so."""

import asyncio
from collections.abc import Callable, Generator, Iterable
from typing import Any, Protocol

from runtime.faults import Moment, reached
from runtime.publisher import Outgoing, Publisher, PublishError
from schemas.codec import encode_all
from schemas.raw_message import IDENTITY_HEADER, RawMessage
from schemas.raw_record import write
from schemas.topics import RAW_TOPICS, key


class Delivery(Protocol):
    """What becomes of the messages of one put, once the fate of each is known: as much of a future as an edge asks of it."""

    def __await__(self) -> Generator[Any, None, None]:
        """Wait for it; the error, if there is one, is raised."""

    def add_done_callback(self, callback: Callable[[Any], object], /) -> None:
        """Have it called on the loop with this delivery, at once if it is known already. One callback, and it must not raise."""

    def exception(self) -> BaseException | None:
        """Why not all of them are known to be on the log; None when they are."""


class Outbox(Protocol):
    """Where an edge puts what it accepted."""

    def put(self, messages: Iterable[RawMessage]) -> Delivery:
        """Send every message at once; done when the log has all of them, and only then may the device hear "accepted".

        It fails with a `runtime.publisher.PublishError` when not all of them are known to be on the log; those that are will
        be taken for duplicates when the client tries again. Who stops waiting takes nothing back.
        """


class KafkaOutbox:
    """The outbox of a running edge: one raw record a message, keyed by device, identity as a header."""

    def __init__(self, publisher: Publisher) -> None:
        self._publisher = publisher

    def put(self, messages: Iterable[RawMessage]) -> Delivery:
        """See `Outbox.put`."""
        reached(Moment.EDGE_RECEIVED)
        kept = list(messages)
        values = encode_all(kept) if len(kept) > 1 else map(write, kept)
        under_way = _UnderWay(len(kept))
        self._publisher.post(map(_record, kept, values), under_way.settled)
        return under_way


def _record(message: RawMessage, value: bytes) -> Outgoing:
    return (
        RAW_TOPICS[message.dialect],
        value,
        key(message.tenant, message.device),
        [(IDENTITY_HEADER, message.identity())],
    )


class _UnderWay:
    """The records of one put. It counts what is open: a future for each would cost as much as to send it.

    No future itself, which has the loop call back in its next turn: that takes as long as half of the look at a body.
    """

    __slots__ = ("_callback", "_error", "_open")

    def __init__(self, records: int) -> None:
        self._open = records
        self._error: PublishError | None = None
        """The first that was known."""
        self._callback: Callable[[_UnderWay], object] | None = None

    def settled(self, error: PublishError | None) -> None:
        """One more is known."""
        self._error = self._error or error
        self._open -= 1
        if self._open == 0:
            if self._error is None:
                reached(Moment.EDGE_ACKNOWLEDGED)
            if self._callback is not None:
                self._callback(self)

    def add_done_callback(self, callback: "Callable[[_UnderWay], object]", /) -> None:
        """See `Delivery.add_done_callback`."""
        self._callback = callback
        if self._open == 0:
            callback(self)

    def exception(self) -> PublishError | None:
        """See `Delivery.exception`."""
        return self._error

    def __await__(self) -> Generator[Any, None, None]:
        """See `Delivery.__await__`."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def tell(_: _UnderWay) -> None:
            if future.done():
                return  # who waited has gone
            if self._error is None:
                future.set_result(None)
            else:
                future.set_exception(self._error)

        self.add_done_callback(tell)
        return future.__await__()
