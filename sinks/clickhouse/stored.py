"""What the tables know of a partition, for a sink whose group has lost its commits."""

from collections.abc import Mapping
from typing import Any

from schemas.topics import RAW_TOPICS
from sinks.clickhouse.canary import TENANT
from sinks.clickhouse.errors import translated
from sinks.sink import Doubtful

_STORED = """
SELECT origin_topic_id, max(origin_offset), max(dialect) FROM messages
WHERE origin_partition = {partition:UInt16} AND tenant != {canary:String}
GROUP BY origin_topic_id ORDER BY max(logged_at)
"""

_BEYOND = "origin_offset > transform(toString(dialect), {dialects:Array(String)}, {lasts:Array(Int64)}, toInt64(-1))"

# `messages` forgets after 30 days. An offset alone does not tell a message: its topic may have been created anew.
_UNACCOUNTED = f"""
SELECT dialect, uniqExact(origin_offset), min(origin_offset), max(origin_offset) FROM readings
WHERE origin_partition = {{partition:UInt16}} AND received_at >= now() - INTERVAL 29 DAY
  AND dialect IN {{dialects:Array(String)}} AND {_BEYOND}
  AND (dialect, origin_offset, received_at) NOT IN (
    SELECT dialect, origin_offset, received_at FROM messages
    WHERE origin_partition = {{partition:UInt16}} AND {_BEYOND})
GROUP BY dialect ORDER BY dialect
"""  # noqa: S608 - a condition of our own


def stored(client: Any, partition: int, *, cluster: str = "") -> Mapping[str, int]:
    """See `sinks.sink.Sink.stored`; two queries, and on a cluster two requests before them."""
    where = {"partition": partition, "canary": TENANT}
    with translated():
        # This replica may have less than the one that the last owner wrote to.
        for table in ("messages", "readings") if cluster else ():
            client.command(f"SYSTEM SYNC REPLICA {table}")
        rows = client.query(_STORED, where).result_rows
        # Of a raw topic that was created anew, the last one counts: what was in doubt was written last.
        lasts = dict.fromkeys(RAW_TOPICS, -1) | {name: last for _, last, name in rows if name in RAW_TOPICS}
        beyond = {"dialects": list(lasts), "lasts": list(lasts.values())}
        doubtful = client.query(_UNACCOUNTED, where | beyond).result_rows
    if doubtful:
        raise Doubtful(
            "ClickHouse has readings of messages that the table messages does not know: "
            + ", ".join(
                f"{count} of {name} from offset {first} to {last}" for name, count, first, last in doubtful
            ),
            code="doubtful",
        )
    return {topic_id: last for topic_id, last, _ in rows}
