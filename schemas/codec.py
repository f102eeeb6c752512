"""Records to Avro bytes and back; every message names the schema that wrote it."""

import io
import json
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from importlib import resources
from itertools import repeat
from operator import call
from typing import Any, TypeVar

import fastavro
import msgspec
from fastavro.schema import fingerprint, to_parsing_canonical_form

from schemas.plain_avro import PLAIN

MARKER = b"\xc3\x01"
"""What single-object encoding begins with (Avro 1.11 specification, "Single-object encoding")."""

_HEADER_LENGTH = len(MARKER) + 8


class Undecodable(ValueError):
    """The bytes are no record of ours. The same bytes would fail again."""


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """A record that travels alone; its schema is the newest `<stem>.v<n>.avsc` beside its module."""


R = TypeVar("R", bound=Record)


def encode(record: Record) -> bytes:
    """The record in single-object encoding: marker, fingerprint of the writer's schema, Avro binary."""
    schema, header = _newest(type(record))
    writers = _writers(type(record))
    if writers is not None:
        return header + b"".join(map(call, writers, msgspec.structs.astuple(record)))
    buffer = io.BytesIO()
    buffer.write(header)
    fastavro.schemaless_writer(buffer, schema, msgspec.structs.asdict(record))
    return buffer.getvalue()


def encode_all(records: Sequence[R]) -> list[bytes]:
    """Each record of one type as `encode` writes it, at a third of the price: what all have in common is written once."""
    if len(records) < 2 or (writers := _writers(type(records[0]))) is None:  # noqa: PLR2004 - one has nothing in common
        return [encode(record) for record in records]
    _, header = _newest(type(records[0]))
    columns = zip(*map(msgspec.structs.astuple, records), strict=True)
    fields = [
        repeat(write(values[0]), len(values))
        if values.count(values[0]) == len(values)
        else map(write, values)
        for write, values in zip(writers, columns, strict=True)
    ]
    return list(map(b"".join, zip(repeat(header, len(records)), *fields, strict=True)))


def decode(record: type[R], data: bytes) -> R:
    """Read bytes that any released version of the record's schema wrote.

    Raises:
        Undecodable: no marker, an unknown fingerprint, or bytes that do not fit the schema they name.

    """
    if data[:2] != MARKER:
        raise Undecodable("not in Avro single-object encoding")
    schemas = _schemas(record).get(data[2:_HEADER_LENGTH])
    if schemas is None:
        raise Undecodable(f"written by an unknown schema, fingerprint {data[2:_HEADER_LENGTH].hex()}")
    buffer = io.BytesIO(data)
    buffer.seek(_HEADER_LENGTH)
    try:
        fields: Any = fastavro.schemaless_reader(buffer, *schemas)
        return record(**fields)
    except (ValueError, EOFError, IndexError, TypeError, KeyError, OverflowError) as error:
        raise Undecodable(f"not a {record.__name__}: {error}") from error


@cache
def _writers(record: type[Record]) -> Sequence[Callable[[Any], bytes]] | None:
    """How to write each field, where no field is more than text, bytes, a number or a map of texts.

    The same bytes as fastavro's, in half the time: an edge writes such a record for each message.
    """
    fields = _newest(record)[0]["fields"]
    types = [json.dumps(field["type"], sort_keys=True) for field in fields]
    in_order = tuple(field["name"] for field in fields) == record.__struct_fields__
    return [PLAIN[name] for name in types] if in_order and PLAIN.keys() >= set(types) else None


def header(record: type[Record]) -> bytes:
    """What the bytes of a record begin with that its newest schema wrote."""
    return _newest(record)[1]


@cache
def _newest(record: type[Record]) -> tuple[Any, bytes]:
    schema = _versions(record)[-1]
    return schema, MARKER + _fingerprint(schema)


@cache
def _schemas(record: type[Record]) -> Mapping[bytes, tuple[Any, Any]]:
    """The schemas of writer and reader, by the writer's fingerprint."""
    versions = _versions(record)
    return {_fingerprint(schema): (schema, versions[-1]) for schema in versions}


@cache
def _versions(record: type[Record]) -> list[Any]:
    """Every version of a record's schema, oldest first."""
    stem = record.__module__.rpartition(".")[2]
    files = [f for f in resources.files("schemas").iterdir() if f.name.startswith(f"{stem}.v")]
    files.sort(key=lambda f: int(f.name.split(".")[1][1:]))
    return [fastavro.parse_schema(json.loads(f.read_text())) for f in files]


def _fingerprint(schema: Any) -> bytes:
    # fastavro gives the CRC-64-AVRO as the hex of its little-endian bytes: what the header wants.
    return bytes.fromhex(fingerprint(to_parsing_canonical_form(schema), "CRC-64-AVRO"))
