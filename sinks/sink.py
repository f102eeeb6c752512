"""Sink: store a batch durably and once, or say why not."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import pyarrow as pa

from schemas.dead_letter import DeadLetter
from schemas.reading_block import Span
from sinks.progress import Piece


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A block as it was consumed, with the messages that an earlier batch stored taken out."""

    offset: int
    """Its offset in `readings`."""
    span: Span
    messages: pa.RecordBatch
    letter: DeadLetter | None = None
    """What Kafka gets of a record that is no block; its one message is the same for the sink."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Whole blocks of one partition of `readings`, in order: what is stored, or is not, as one."""

    topic_id: str
    """Kafka's id of the topic `readings`."""
    partition: int
    first: int
    last: int
    """Offsets of the first and last block that the batch covers."""
    blocks: Sequence[Block]
    epoch: str = "0"
    """Part of every token: the same batch under another epoch is stored beside the first."""

    @property
    def messages(self) -> int:
        """How many messages it has."""
        return sum(block.messages.num_rows for block in self.blocks)


class SinkError(Exception):
    """Something is not stored, as far as we know."""

    def __init__(self, text: str, *, code: str = "") -> None:
        super().__init__(text)
        self.code = code
        """ClickHouse's name or number of the error, or the kind of failure: bounded, fit for a metric's label."""


class Retryable(SinkError):
    """The same attempt may succeed later, and must then be made unchanged. It may also have succeeded."""


class Unwritable(SinkError):
    """The same attempt would fail again."""


class Doubtful(SinkError):
    """A batch is stored in part, and nobody knows any more which one it was."""


class Sink(Protocol):
    """Where batches are stored: first their readings, in one piece or several, then the account of their messages.

    Each call takes at most three times, `stored` four and `excuse` five times, as long as a request may.
    """

    def write(self, batch: Batch, piece: Piece) -> None:
        """Return when every reading of the piece is stored once, however often the same piece is written.

        Nothing is promised of pieces that overlap: each of them is stored.

        Raises:
            Retryable: try the same piece again.
            Unwritable: do not.

        """

    def excuse(self, batch: Batch, piece: Piece, error: Unwritable) -> str:
        """Why the messages of a piece that was refused are not to blame for it; "" if they are.

        They are to blame if nothing of the piece is stored, so that it can be cut, and something harmless can be.

        Raises:
            Retryable: it cannot be said now.

        """

    def account(self, batch: Batch) -> None:
        """Return when the fate of each message, and each dead letter, is stored once, however often this is called.

        Raises:
            Retryable: try the same batch again.
            Unwritable: do not.

        """

    def stored(self, partition: int) -> Mapping[str, int]:
        """The last offset that is accounted for of each raw topic, by Kafka's id of it, in this partition.

        What a sink has forgotten by its age is not in it: it must remember longer than the log does.

        Raises:
            Doubtful: it has readings of messages that are not accounted for.
            Retryable: it cannot be said now.
            Unwritable: it cannot be said until somebody repairs something.

        """
