"""Progress: what the sink knows of a partition, kept as the metadata of its committed offset."""

from collections.abc import Mapping
from typing import NamedTuple

import msgspec

MOST_UNWRITABLE = 100
"""Messages of one batch that may be given up.

Kafka keeps 4,096 bytes of metadata: these take 800 of them, the cuts of the largest batch 160, three dialects 300. Each
message given up is also held in memory with its raw record, of at most a mebibyte, until its batch is accounted for.
"""


class Piece(NamedTuple):
    """Messages of a batch, by their index in it: those from `first` up to, and without, `end`."""

    first: int
    end: int


class Pending(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A batch that is being written, and every decision on how; each is recorded here before it is acted upon.

    A batch is one piece, unless a message of it was refused. Pieces are written from left to right. A replay follows what
    is recorded, so that each message is stored under one token only, whoever crashed and whatever was cured meanwhile.
    """

    first: int
    last: int
    """Offsets in `readings` of its first and last block."""
    epoch: str = ""
    """That it was begun with, and keeps."""
    done: int = 0
    """The fate of the messages before this index is settled: stored, or given up."""
    cuts: tuple[int, ...] = ()
    """Indexes beyond `done` at which the messages are cut into pieces, ascending."""
    unwritable: tuple[int, ...] = ()
    """Indexes of the messages that are given up, ascending."""

    def piece(self, messages: int) -> Piece:
        """What is to be written next, of a batch of so many messages; nothing when it begins at their end."""
        return Piece(self.done, self.cuts[0] if self.cuts else messages)

    def landed(self, piece: Piece) -> "Pending":
        """The next piece is stored."""
        return msgspec.structs.replace(self, done=piece.end, cuts=self.cuts[1:])

    def halved(self, piece: Piece) -> "Pending":
        """The next piece, of more than one message, is cut in its middle."""
        return msgspec.structs.replace(self, cuts=(sum(piece) // 2, *self.cuts))

    def given_up(self, piece: Piece) -> "Pending":
        """The next piece, of one message, is not written any more."""
        return msgspec.structs.replace(self.landed(piece), unwritable=(*self.unwritable, piece.first))


class Progress(msgspec.Struct, frozen=True, omit_defaults=True):
    """Travels with the ownership of the partition, and is fenced by the group's generation as the offset is."""

    topic_id: str = ""
    """Kafka's id of `readings` when this was written: another topic of the same name starts anew."""
    stored: Mapping[str, int] = {}
    """Kafka id of a raw topic to the last offset of it, in this partition, that is stored."""
    pending: Pending | None = None
    """The batch that is being written: a new owner writes exactly it, first."""

    def encode(self) -> str:
        """As commit metadata."""
        return msgspec.json.encode(self).decode()

    @classmethod
    def decode(cls, metadata: str | None) -> "Progress":
        """From commit metadata; none means that nothing is stored yet.

        Raises:
            ValueError: somebody else committed for this group.

        """
        try:
            return msgspec.json.decode(metadata, type=cls) if metadata else cls()
        except msgspec.MsgspecError as error:
            raise ValueError(f"{metadata!r:.200} is no progress of a sink: {error}") from error
