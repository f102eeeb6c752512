"""Line http-1000: a thousand readings a request of Graph, of one device or of a thousand, beside a handler that does nothing and the body decoded."""

import functools
import time
from collections.abc import Callable, Iterator, Mapping

import msgspec

from producers.http.graph import Item
from tests.bench.edge import SECONDS, TOKEN, WARM, edge, kafka, peer, under_load
from tests.bench.http_load import INGEST
from tests.bench.http_wire import Load, post
from tests.bench.line import OURS, Clock, Figure, Result, apart, play

READINGS = 1000
CONNECTIONS = 16
"""What is under way on all of them fits the producer's queue, which is bounded by messages too."""


class Body(msgspec.Struct):
    """What such a request says."""

    telemetry: list[Item]


def body(devices: int) -> bytes:
    """A thousand readings, of so many devices in turn."""
    items = [
        {
            "deviceId": f"device-{number % devices:03}",
            "sensorId": f"sensor-{number // devices:03}",
            "sensorType": "peopleCount",
            "intValue": number * 7919 % 1000,
            "timestamp": f"2026-03-01T10:{number // 60 % 60:02}:{number % 60:02}.{number:03}Z",
        }
        for number in range(READINGS)
    ]
    return msgspec.json.encode({"telemetry": items})


def decode(encoded: bytes) -> Figure:
    """To be run in a process of its own."""
    decoder = msgspec.json.Decoder(Body)
    _decode(decoder, encoded, WARM)
    clock = Clock()
    return clock.figure(_decode(decoder, encoded, SECONDS))


def _decode(decoder: msgspec.json.Decoder[Body], encoded: bytes, seconds: float) -> int:
    readings, deadline = 0, time.monotonic() + seconds
    while time.monotonic() < deadline:
        readings += len(decoder.decode(encoded).telemetry)
    return readings


def results(rounds: int, said: Callable[[str], None]) -> Iterator[Result]:
    """See `tests.bench.line`."""
    with kafka([]) as bootstrap, edge("http", bootstrap) as ours, peer("http") as other:
        servers = {OURS: ours, "no-op handler": other}
        yield _result(servers, 1, 200_000, rounds, said)
        yield _result(servers, READINGS, 100_000, rounds, said)


def _result(
    servers: Mapping[str, tuple[int, int]],
    devices: int,
    least: float,
    rounds: int,
    said: Callable[[str], None],
) -> Result:
    encoded = body(devices)
    request = post(INGEST, encoded, Authorization=f"Bearer {TOKEN}")
    candidates = {
        name: functools.partial(under_load, Load(port, request, CONNECTIONS), pid, each=READINGS)
        for name, (port, pid) in servers.items()
    } | {
        "msgspec decode": functools.partial(apart, decode, encoded),
    }
    return Result(
        f"http-1000: of {devices:,} device{'s' * (devices > 1)}, acknowledged by Kafka",
        "readings",
        play(candidates, rounds, said),
        least=least,
    )
