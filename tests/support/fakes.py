"""Short stand-ins for the seams: an outbox, a sink and a place for dead letters that remember, and fail when told to."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence

from runtime.publisher import PublishError
from schemas.dead_letter import DeadLetter
from schemas.raw_message import RawMessage
from schemas.reading_block import Span
from sinks.condemn import between
from sinks.dead_letters import RawRecord
from sinks.progress import Piece
from sinks.sink import Batch, Doubtful, SinkError, Unwritable
from tests.support.blocks import origins


def told(error: Exception | None = None) -> asyncio.Future[None]:
    """What an outbox answers when it knows already."""
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    if error is None:
        future.set_result(None)
    else:
        future.set_exception(error)
    return future


class MemoryOutbox:
    """Keeps what was put; `fail_with` makes every later put fail."""

    def __init__(self) -> None:
        self.messages: list[RawMessage] = []
        self.fail_with: PublishError | None = None

    def put(self, messages: Iterable[RawMessage]) -> asyncio.Future[None]:
        """See `producers.outbox.Outbox.put`."""
        if self.fail_with is None:
            self.messages.extend(messages)
        return told(self.fail_with)


Key = tuple[str, int, str, int, int]
"""What a token names: topic, partition, epoch, first, last."""


class MemorySink:
    """Keeps pieces and accounts, each once however often it is written.

    Each of the `failures` is raised by one write or account, each of the `unsaid` by one question what is stored. Readings of the messages at `guilty` origins are refused, and
    everything is while `broken` says why.
    """

    def __init__(self, *failures: SinkError) -> None:
        self.pieces: dict[tuple[Key, Piece], Batch] = {}
        self.batches: dict[Key, Batch] = {}
        self.failures = list(failures)
        self.unsaid: list[SinkError] = []
        self.guilty: set[tuple[str, int]] = set()
        self.broken = ""

    def write(self, batch: Batch, piece: Piece) -> None:
        """See `sinks.sink.Sink.write`."""
        self._fail()
        part = between(batch, piece)
        if self.guilty & set(origins(part)):
            raise Unwritable("constraint violated", code="469")
        self.pieces.setdefault((_key(batch), piece), part)

    def excuse(self, batch: Batch, piece: Piece, error: Unwritable) -> str:
        """See `sinks.sink.Sink.excuse`."""
        return "the table has it already" if (_key(batch), piece) in self.pieces else self.broken

    def account(self, batch: Batch) -> None:
        """See `sinks.sink.Sink.account`."""
        self._fail()
        self.batches.setdefault(_key(batch), batch)

    def stored(self, partition: int) -> Mapping[str, int]:
        """See `sinks.sink.Sink.stored`."""
        if self.unsaid:
            raise self.unsaid.pop(0)
        if any(key[1] == partition and key not in self.batches for key, _ in self.pieces):
            raise Doubtful("readings of messages that are not accounted for")
        mine = [batch for key, batch in self.batches.items() if key[1] == partition]
        return {topic_id: offset for batch in mine for topic_id, offset in sorted(origins(batch))}

    def _fail(self) -> None:
        if self.failures:
            raise self.failures.pop(0)
        if self.broken:
            raise Unwritable(self.broken, code="395")


def _key(batch: Batch) -> Key:
    return batch.topic_id, batch.partition, batch.epoch, batch.first, batch.last


class MemoryDeadLetters:
    """Has a raw record for every origin, but for those at `gone` offsets; each of the `failures` is raised by one call."""

    def __init__(self, *failures: SinkError) -> None:
        self.letters: list[DeadLetter] = []
        self.gone: set[int] = set()
        self.failures = list(failures)

    def raw(self, span: Span, offset: int) -> RawRecord:
        """See `sinks.dead_letters.DeadLetters.raw`."""
        self._fail()
        if offset in self.gone:
            return RawRecord(missing="its raw record is gone")
        return RawRecord(key=b"acme/boiler-7", value=b"raw %d" % offset, headers={"id": b"%d" % offset})

    def publish(self, letters: Sequence[DeadLetter]) -> None:
        """See `sinks.dead_letters.DeadLetters.publish`."""
        self._fail()
        self.letters += letters

    def _fail(self) -> None:
        if self.failures:
            raise self.failures.pop(0)
