"""What is stored of a partition, when Kafka does not say: its commits expired, were deleted, or cannot be gone on from."""

from collections.abc import Mapping

import structlog

from schemas.topics import READINGS
from sinks.delivery import Keeper
from sinks.partition import Partition
from sinks.sink import Doubtful, Sink, SinkError
from sinks.stranded import Stranded

log = structlog.get_logger()

RETRY_SECONDS = 1.0


def recover(partition: Partition, sink: Sink, keeper: Keeper) -> None:
    """Return when the partition has its watermarks from the sink itself, however long that takes.

    Raises:
        Stranded: a batch was in doubt when the commits were lost, and part of it is stored.

    """
    stored = _stored(partition, sink, keeper)
    partition.recover(stored)
    if stored:
        log.info("progress recovered from the tables", partition=partition.number, stored=dict(stored))


def _stored(partition: Partition, sink: Sink, keeper: Keeper) -> Mapping[str, int]:
    while True:
        try:
            return sink.stored(partition.number)
        except Doubtful as error:
            raise Stranded(
                f"{READINGS} [{partition.number}]: {error}; what Kafka knew of their batch is lost, and written again they"
                " would count twice; docs/sink.md, Exit codes, has the way out"
            ) from error
        except SinkError as error:
            keeper.hold(error, RETRY_SECONDS)
