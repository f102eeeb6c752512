"""Messages of a batch, by their index: some of them alone, or some of them as dead letters."""

import dataclasses
from collections.abc import Iterator, Mapping

import pyarrow as pa

from schemas.reading_block import SCHEMA, Fate
from sinks.progress import Piece
from sinks.sink import Batch, Block


def between(batch: Batch, piece: Piece) -> Batch:
    """The batch with no other messages than those of the piece."""
    return dataclasses.replace(batch, blocks=list(_blocks(batch, piece)))


def row(batch: Batch, index: int) -> Block:
    """One message, in its block."""
    (block,) = _blocks(batch, Piece(index, index + 1))
    return block


def condemned(batch: Batch, verdicts: Mapping[int, Mapping[str, object]]) -> Batch:
    """The batch with some messages as dead letters, without readings: index to columns of `SCHEMA` that change."""
    borders = sorted({0, batch.messages, *verdicts, *(index + 1 for index in verdicts)})
    blocks: list[Block] = []
    for piece in map(Piece, borders, borders[1:]):
        found = _blocks(batch, piece)
        if piece.first in verdicts:
            blocks += [_dead(block, verdicts[piece.first]) for block in found]
        else:
            blocks += found
    return dataclasses.replace(batch, blocks=blocks)


def _blocks(batch: Batch, piece: Piece) -> Iterator[Block]:
    """The blocks, or parts of blocks, of which the piece is made."""
    begin = 0
    for block in batch.blocks:
        end = begin + block.messages.num_rows
        first, last = max(piece.first, begin), min(piece.end, end)
        if first < last:
            yield dataclasses.replace(block, messages=block.messages.slice(first - begin, last - first))
        begin = end


def _dead(block: Block, verdict: Mapping[str, object]) -> Block:
    changed: dict[str, object] = {"fate": Fate.DEAD_LETTER.value, "readings": [], **verdict}
    columns = [
        pa.array([changed[field.name]], field.type) if field.name in changed else block.messages.column(index)
        for index, field in enumerate(SCHEMA)
    ]
    return dataclasses.replace(block, messages=pa.RecordBatch.from_arrays(columns, schema=SCHEMA))
