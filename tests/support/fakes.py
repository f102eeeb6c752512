"""Short stand-ins for the seams: an outbox that remembers, and one that cannot reach Kafka."""

from collections.abc import Iterable

from runtime.publisher import PublishError
from schemas.raw_message import RawMessage


class MemoryOutbox:
    """Keeps what was put; `fail_with` makes every later put raise."""

    def __init__(self) -> None:
        self.messages: list[RawMessage] = []
        self.fail_with: PublishError | None = None

    async def put(self, messages: Iterable[RawMessage]) -> None:
        """See `producers.outbox.Outbox.put`."""
        if self.fail_with is not None:
            raise self.fail_with
        self.messages.extend(messages)
