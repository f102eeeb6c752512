"""Progress: what the sink knows of a partition, kept as the metadata of its committed offset."""

from collections.abc import Mapping

import msgspec


class Progress(msgspec.Struct, frozen=True, omit_defaults=True):
    """Travels with the ownership of the partition, and is fenced by the group's generation as the offset is.

    Kafka keeps up to 4,096 bytes of it; three dialects take about 300.
    """

    topic_id: str = ""
    """Kafka's id of `readings` when this was written: another topic of the same name starts anew."""
    stored: Mapping[str, int] = {}
    """Kafka id of a raw topic to the last offset of it, in this partition, that is stored."""
    pending: tuple[int, int] | None = None
    """First and last `readings` offset of the batch that is being written: a new owner writes exactly it, first."""

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
