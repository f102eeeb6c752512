"""Sink: store a batch durably and once, or say why not."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import pyarrow as pa

from schemas.reading_block import Span


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A block as it was consumed, with the messages that an earlier batch stored taken out."""

    offset: int
    """Its offset in `readings`."""
    span: Span
    messages: pa.RecordBatch


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


class SinkError(Exception):
    """A batch is not stored, as far as we know."""


class Retryable(SinkError):
    """The same batch may succeed later, and must then be sent unchanged."""

    def __init__(self, text: str, *, code: str) -> None:
        super().__init__(text)
        self.code = code
        """ClickHouse's error code, or the kind of failure: bounded, fit for a metric's label."""


class Unwritable(SinkError):
    """The same batch would fail again."""


class Sink(Protocol):
    """Where batches are stored."""

    def write(self, batch: Batch) -> None:
        """Return when every row of the batch is stored once, however often the same batch is written.

        Raises:
            Retryable: try the same batch again.
            Unwritable: do not.

        """
