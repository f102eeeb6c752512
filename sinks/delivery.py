"""One batch on its way into a sink: a message that cannot be written is found and given up, all others land."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, TypeVar

from schemas.dead_letter import DeadLetter, Reason
from sinks import metrics
from sinks.condemn import condemned, row
from sinks.dead_letters import DeadLetters, RawRecord
from sinks.progress import MOST_UNWRITABLE, Pending, Piece
from sinks.sink import Batch, Retryable, Sink, SinkError, Unwritable

SHORTEST_BACKOFF_SECONDS = 0.25
LONGEST_BACKOFF_SECONDS = 10.0

LONGEST_ERROR = 1000
"""Characters of what ClickHouse said of a message, in its dead letter."""

FORGOTTEN = "refused by ClickHouse; the sink that was told why ended before it could say so"

T = TypeVar("T")


class Keeper(Protocol):
    """What a delivery may ask of the consumer. Each call raises when the partition is somebody else's: let it through."""

    def record(self, pending: Pending) -> None:
        """Return when a decision stands in the commit metadata."""

    def hold(self, error: SinkError, seconds: float) -> None:
        """Say why nothing is written, and poll so long, with everything paused."""

    def breathe(self) -> None:
        """Poll once, with everything paused."""


class Delivery:
    """Stores one batch, however long it takes.

    What is already in a table is never cut: a view behind the table that refuses a message leaves the rows of its piece in
    the table, and pieces of it under tokens of their own would be stored beside them. Such a piece, and an account that is
    refused, waits for its cure, as everything does while ClickHouse refuses even what is harmless.

    Args:
        sink: where to.
        dead_letters: where the raw records of messages that are given up come from, and go to.
        keeper: of the partition.
        doubt: seconds for which an insert may still be running whose answer nobody saw; as long nothing is cut.
        monotonic: the clock, in seconds.

    """

    def __init__(
        self,
        sink: Sink,
        dead_letters: DeadLetters,
        keeper: Keeper,
        *,
        doubt: float,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._sink = sink
        self._dead_letters = dead_letters
        self._keeper = keeper
        self._doubt = doubt
        self._monotonic = monotonic
        self._certain = 0.0
        self._backoff = SHORTEST_BACKOFF_SECONDS
        self._errors: dict[int, str] = {}

    def deliver(self, batch: Batch, pending: Pending, *, replayed: bool) -> None:
        """Return when each message of the batch is stored once, or a dead letter.

        `pending` is what is recorded of the batch; `replayed` says that another owner may have tried before.
        """
        if replayed:
            self._certain = self._monotonic() + self._doubt
        while (piece := pending.piece(batch.messages)).first < batch.messages:
            whole = piece == (0, batch.messages)
            pending = self._attempt(batch, pending, piece)
            if not whole:
                self._keeper.breathe()
        if pending.unwritable:
            batch = self._condemned(batch, pending)
        self._publish([block.letter for block in batch.blocks if block.letter and block.messages.num_rows])
        self._insist(lambda: self._sink.account(batch))

    def _attempt(self, batch: Batch, pending: Pending, piece: Piece) -> Pending:
        """Write the piece, or decide what to do about it: the record of the batch afterwards."""
        try:
            self._sink.write(batch, piece)
        except Retryable as error:
            self._certain = self._monotonic() + self._doubt
            self._hold(error)
            return pending
        except Unwritable as error:
            self._keeper.breathe()
            return self._judged(batch, pending, piece, error)
        self._backoff = SHORTEST_BACKOFF_SECONDS
        return pending.landed(piece)

    def _judged(self, batch: Batch, pending: Pending, piece: Piece, error: Unwritable) -> Pending:
        if self._monotonic() < self._certain:
            self._hold(Unwritable(f"an earlier attempt may not have ended yet: {error}", code=error.code))
            return pending
        try:
            excuse = self._sink.excuse(batch, piece, error)
        except Retryable as unknown:
            self._hold(unknown)
            return pending
        if not excuse and len(pending.unwritable) == MOST_UNWRITABLE:
            excuse = f"{MOST_UNWRITABLE} messages of one batch were given up, and more would be"
        if excuse:
            self._hold(Unwritable(f"{excuse}: {error}", code=error.code))
            return pending
        if piece.end - piece.first > 1:
            decided = pending.halved(piece)
        else:
            decided = pending.given_up(piece)
            self._errors[piece.first] = str(error)[:LONGEST_ERROR]
        self._keeper.record(decided)
        return decided

    def _condemned(self, batch: Batch, pending: Pending) -> Batch:
        """The batch with the messages that were given up as dead letters, which Kafka has by then."""
        letters: list[DeadLetter] = []
        verdicts: dict[int, Mapping[str, object]] = {}
        for index in pending.unwritable:
            letter = self._letter(batch, index)
            letters.append(letter)
            verdicts[index] = {"reason": letter.reason, "error": letter.error, "body": letter.value or b""}
            self._keeper.breathe()
        self._publish(letters)
        metrics.UNWRITABLE.inc(len(letters))
        return condemned(batch, verdicts)

    def _publish(self, letters: Sequence[DeadLetter]) -> None:
        if letters:
            self._insist(lambda: self._dead_letters.publish(letters))
            self._keeper.breathe()

    def _letter(self, batch: Batch, index: int) -> DeadLetter:
        block = row(batch, index)
        offset, logged_at = block.messages.column("offset"), block.messages.column("logged_at")
        raw: RawRecord = self._insist(lambda: self._dead_letters.raw(block.span, offset[0].as_py()))
        error = self._errors.get(index, FORGOTTEN)
        return DeadLetter(
            topic=block.span.topic,
            topic_id=block.span.topic_id,
            partition=block.span.partition,
            offset=offset[0].as_py(),
            logged_at=logged_at.cast("int64")[0].as_py(),
            reason=Reason.UNWRITABLE,
            error=f"{error}; {raw.missing}" if raw.missing else error,
            key=raw.key,
            value=raw.value,
            headers=raw.headers,
        )

    def _insist(self, attempt: Callable[[], T]) -> T:
        """The attempt's result. Its readings are stored, so there is nothing left to cut: it is tried until it comes."""
        while True:
            try:
                result = attempt()
            except SinkError as error:
                self._hold(error)
            else:
                self._backoff = SHORTEST_BACKOFF_SECONDS
                return result

    def _hold(self, error: SinkError) -> None:
        self._keeper.hold(error, self._backoff)
        self._backoff = min(2 * self._backoff, LONGEST_BACKOFF_SECONDS)
