"""DeadLetter: a record that could not be used, why, and its untouched bytes."""

from collections.abc import Mapping
from enum import StrEnum

from schemas.codec import Record


class Reason(StrEnum):
    """Why a record is a dead letter: a closed set, fit for a metric's label."""

    UNDECODABLE = "undecodable"
    """The record is not a RawMessage in any version."""
    MALFORMED = "malformed"
    """The body is not of the dialect's shape."""
    UNUSABLE_TIME = "unusable_time"
    """A measurement's time is beyond what ClickHouse can hold (years 1900 to 2299)."""
    TOO_LARGE = "too_large"
    """Its readings do not fit into one block."""
    UNWRITABLE = "unwritable"
    """The store refuses its readings, and takes those of others."""


class DeadLetter(Record, frozen=True, kw_only=True):
    """Enough to explain the record, and to send it again as it was."""

    topic: str
    topic_id: str
    partition: int
    offset: int
    logged_at: int
    """Milliseconds since 1970, UTC, by the broker's clock."""
    reason: str
    error: str
    key: bytes | None
    value: bytes | None
    headers: Mapping[str, bytes]
