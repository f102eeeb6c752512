"""A batch as the rows of each table: Arrow columns in, Arrow columns out, never a Python object a row."""

import itertools
import json
from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

from schemas.reading_block import READING, SCHEMA, Fate
from sinks.sink import Batch, Block

_LABELS = pa.map_(pa.string(), pa.string())

_CONTEXT = ("tenant", "device", "dialect", "place", "received_at")
_ORIGIN = ("origin_topic", "origin_topic_id", "origin_partition", "origin_offset")
_MESSAGE = (
    *_ORIGIN,
    *("fate", "reason", "identity", "message_id", *_CONTEXT, "logged_at"),
    *("traceparent", "tracestate", "labels", "readings"),
)
_DEAD_LETTER = (*_ORIGIN, "reason", "error", "body", *_CONTEXT, "logged_at")


def tables(batch: Batch) -> dict[str, pa.Table]:
    """Table name to its rows, each table one chunk; the same batch always gives the same rows in the same order.

    One chunk, because ClickHouse drops a repeated insert only if it is split into the same blocks.
    """
    messages = _messages(batch.blocks)
    if messages.num_rows == 0:
        return {}
    counted = messages.set_column(
        messages.schema.get_field_index("readings"),
        "readings",
        pc.list_value_length(messages["readings"]).cast(pa.uint32()),
    )
    labels = _labels(messages["labels"].chunk(0))
    counted = counted.set_column(counted.schema.get_field_index("labels"), "labels", labels)
    found = {
        "messages": counted.select(_MESSAGE),
        "dead_letters": _dead(messages),
        "readings": _readings(messages),
    }
    return {name: table.combine_chunks() for name, table in found.items() if table.num_rows}


def _messages(blocks: Sequence[Block]) -> pa.Table:
    """All blocks as one chunk, each message with where it comes from."""
    some = [block for block in blocks if block.messages.num_rows]
    if not some:
        return SCHEMA.empty_table()
    names = ["origin_offset" if name == "offset" else name for name in SCHEMA.names]
    table = pa.Table.from_batches([block.messages for block in some], SCHEMA)
    # Dictionaries become one on the way: to unify them first would copy every index once more.
    table = table.combine_chunks().rename_columns(names)
    runs = [
        (origin, sum(block.messages.num_rows for block in run))
        for origin, run in itertools.groupby(
            some, lambda block: (block.span.topic, block.span.topic_id, block.span.partition)
        )
    ]
    topics, topic_ids, partitions = zip(*(origin for origin, _ in runs), strict=True)
    run_of = pa.concat_arrays(
        [pa.repeat(pa.scalar(index, pa.uint32()), count) for index, (_, count) in enumerate(runs)]
    )
    for name, values in (
        ("origin_topic", pa.array(topics).dictionary_encode()),
        ("origin_topic_id", pa.array(topic_ids).dictionary_encode()),
        ("origin_partition", pa.array(partitions, pa.uint16())),
    ):
        table = table.append_column(name, pc.take(values, run_of, boundscheck=False))
    return table


def _dead(messages: pa.Table) -> pa.Table:
    fates = messages["fate"].chunk(0)
    # By its index: to compare words, Arrow would first make one of every row.
    index = fates.dictionary.index(Fate.DEAD_LETTER.value)
    return messages.select(_DEAD_LETTER).filter(pc.equal(fates.indices, index))


def _readings(messages: pa.Table) -> pa.Table:
    nested = messages["readings"].chunk(0)
    parents = pc.list_parent_indices(nested)
    values = nested.flatten()
    starts = pc.take(pc.subtract(nested.offsets, nested.offsets[0]), parents, boundscheck=False)
    columns = {
        name: pc.take(messages[name].chunk(0), parents, boundscheck=False)
        for name in (*_CONTEXT, "origin_partition", "origin_offset")
    }
    places = pa.arange(0, len(values)).cast(pa.int32(), safe=False)
    columns["position"] = pc.subtract(places, starts).view(pa.uint32())
    for index, field in enumerate(READING):
        columns[field.name] = values.field(index)
    return pa.table(columns)


def _labels(column: pa.DictionaryArray) -> pa.Array:
    """Each label set is parsed once, however many messages carry it."""
    parsed = [list(json.loads(text).items()) for text in column.dictionary.to_pylist()]
    return pc.take(pa.array(parsed, _LABELS), column.indices, boundscheck=False)
