"""Short stand-ins for the seams: an outbox and a sink that remember, and fail when told to."""

from collections.abc import Iterable

from runtime.publisher import PublishError
from schemas.raw_message import RawMessage
from sinks.sink import Batch, SinkError


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


class MemorySink:
    """Keeps batches, each once however often it is written; each of the `failures` is raised by one write."""

    def __init__(self, *failures: SinkError) -> None:
        self.batches: dict[tuple[str, int, int, int], Batch] = {}
        self.failures = list(failures)

    def write(self, batch: Batch) -> None:
        """See `sinks.sink.Sink.write`."""
        if self.failures:
            raise self.failures.pop(0)
        self.batches.setdefault((batch.topic_id, batch.partition, batch.first, batch.last), batch)
