"""Footprint: how many bytes a device, an identity and a message take, in memory, on the log and in ClickHouse."""

import asyncio
import itertools
import random
import tempfile
import time
from collections.abc import Iterator, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import lz4.frame
import msgspec

from processors.dedupe import Window
from runtime.devices import DeviceTable, PlaceTable
from schemas.codec import decode, encode
from schemas.device import Device
from schemas.raw_message import IDENTITY_HEADER, RawMessage
from schemas.reading import reading
from schemas.reading_block import Fate, MessageRow, Span
from schemas.reading_block import decode as decode_block
from schemas.reading_block import encode as encode_block
from schemas.topics import key
from sinks.clickhouse.client import connect
from sinks.clickhouse.tables import tables
from sinks.clickhouse.writer import ClickHouseSink
from sinks.settings import ClickHouseSettings
from sinks.sink import Batch, Block
from tests.bench.fleet import access_token
from tests.bench.line import apart
from tests.bench.rebuild import identity, sample_self
from tests.support.engine import database, engine

READINGS = 3
"""Of a message."""
CADENCES: Mapping[str, int] = {"a minute": 60, "a second": 1}
"""Seconds between two messages of a device."""
SPAN = 3600
"""Seconds of a fleet that are stored to be weighed."""
STORED = 100_000
"""Messages of it."""

_MANY, _BLOCK = 100_000, 500


class Footprint(msgspec.Struct, frozen=True, kw_only=True):
    """Bytes."""

    device: float
    """Memory of a registered device with a token, in each edge."""
    place: float
    """Memory of what a processor knows of a device, with two labels that others have as well."""
    identity: float
    """Memory of a remembered identity."""
    raw: float
    """A raw message on the log, in batches of a hundred, lz4."""
    block: float
    """A block on the log beside its messages, lz4."""
    block_message: float
    """A message of it."""
    stored: Mapping[str, Mapping[str, float]]
    """A message in ClickHouse, by cadence and table, merged."""


async def footprint() -> Footprint:
    """Weigh everything; takes a minute."""
    blocks = {
        size: len(lz4.frame.compress(encode_block(list(itertools.islice(_rows(60), size)))))
        for size in (1, _BLOCK)
    }
    message = (blocks[_BLOCK] - blocks[1]) / (_BLOCK - 1)
    raw = b"".join(map(_record, itertools.islice(_rows(60), 100)))
    return Footprint(
        device=await asyncio.to_thread(apart, device_bytes, DeviceTable),
        place=await asyncio.to_thread(apart, device_bytes, PlaceTable),
        identity=await asyncio.to_thread(apart, identity_bytes),
        raw=len(lz4.frame.compress(raw)) / 100,
        block=blocks[1] - message,
        block_message=message,
        stored=await _stored(),
    )


def device_bytes(table: type[DeviceTable | PlaceTable]) -> float:
    """In a process of its own."""
    few = [encode(_device(number)) for number in range(_MANY)]
    before = sample_self()
    known = table(decode(Device, each) for each in few)
    return (sample_self() - before) * (1 << 20) / len(known)


def identity_bytes() -> float:
    """In a process of its own; the mean of a set that just grew and of one that is about to."""
    window = Window(seconds=3600)
    identities = b"".join(map(identity, range(_MANY * 10)))
    before = sample_self()
    window.remember_all(memoryview(identities))
    return (sample_self() - before) * (1 << 20) / len(window)


def _device(number: int) -> Device:
    name = f"boiler-{number:07}"
    token = sha256(access_token(name).encode()).hexdigest()
    labels = {"line": str(number % 50), "model": "T-100"}
    return Device(
        tenant="acme", device=name, place=f"hall-{number % 200}", token_sha256s=[token], labels=labels
    )


def _rows(every: int) -> Iterator[MessageRow]:
    """What a fleet sends in an hour, message by message in the order of the log; each device drifts about its own value."""
    chance, devices = random.Random(1), STORED * every // SPAN
    begun = time.time_ns() // 10**6 - SPAN * 1000
    values = [[chance.gauss(21, 3), chance.gauss(50, 9), chance.gauss(1013, 8)] for _ in range(devices)]
    for number in range(STORED):
        device, at = (
            number % devices,
            (begun + number // devices * every * 1000) * 1000 + chance.randrange(10**6),
        )
        values[device] = [value + chance.gauss(0, 0.1) for value in values[device]]
        temperature, humidity, pressure = values[device]
        yield MessageRow(
            offset=number,
            fate=Fate.STORED,
            logged_at=at // 1000 + 3,
            dialect="thingsboard",
            identity=identity(number),
            message_id=identity(number).hex(),
            tenant="acme",
            device=f"boiler-{device:07}",
            received_at=at + 1500,
            place=f"hall-{device % 200}",
            labels=f'{{"line":"{device % 50}","model":"T-100"}}',
            readings=[
                reading("temperature", round(temperature, 2), at),
                reading("humidity", round(humidity), at),
                reading("pressure", round(pressure, 1), at),
            ],
        )


def _record(row: MessageRow) -> bytes:
    """What Kafka keeps of a raw record, but for a dozen bytes of framing."""
    return key(row.tenant, row.device) + encode(_raw(row)) + IDENTITY_HEADER.encode() + row.identity


def _raw(row: MessageRow) -> RawMessage:
    values = {each.quantity: each.number for each in row.readings}
    return RawMessage(
        tenant=row.tenant,
        dialect=row.dialect,
        device=row.device,
        message_id=row.message_id,
        received_at=row.received_at,
        content_type="application/json",
        attributes={},
        body=msgspec.json.encode({"ts": row.readings[0].measured_at // 1000, "values": values}),
    )


async def _stored() -> Mapping[str, Mapping[str, float]]:
    with tempfile.TemporaryDirectory() as folder:
        async with engine(Path(folder)) as url:
            return {
                name: await asyncio.to_thread(_weighed, url, f"cadence_{every}", every)
                for name, every in CADENCES.items()
            }


def _weighed(url: str, name: str, every: int) -> Mapping[str, float]:
    """Store an hour of a fleet as the sink would, merge, and weigh."""
    with database(url, name):
        client = connect(ClickHouseSettings(url=url, database=name), insert_timeout=60)
        sink = ClickHouseSink(client)
        rows = _rows(every)
        for first in range(0, STORED, STORED // 4):
            batch = _batch(first, list(itertools.islice(rows, STORED // 4)))
            for table, made in tables(batch).items():
                sink.insert(table, made, sink.token(batch, table))
        weights = {}
        for table in ("readings", "messages", "readings_1m_state", "latest_state"):
            client.command(f"OPTIMIZE TABLE {table} FINAL")
            weights[table] = _bytes(client, name, table) / STORED
        return weights


def _batch(first: int, rows: list[MessageRow]) -> Batch:
    last = first + len(rows) - 1
    span = Span(
        topic="raw-thingsboard",
        topic_id="bench",
        partition=0,
        first=first,
        last=last,
        time=rows[-1].logged_at,
    )
    block = Block(offset=first, span=span, messages=decode_block(encode_block(rows)))
    return Batch(topic_id="bench", partition=0, first=first, last=first, blocks=[block])


def _bytes(client: Any, database: str, table: str) -> int:
    weighing = "SELECT sum(bytes_on_disk) FROM system.parts WHERE active AND database = {d:String} AND table = {t:String}"
    return int(client.query(weighing, {"d": database, "t": table}).result_rows[0][0])
