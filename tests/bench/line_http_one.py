"""Line http-1: one message of Digital Twins a request, beside an aiohttp handler that does nothing."""

import functools
from collections.abc import Callable, Iterator

from tests.bench.edge import TOKEN, edge, kafka, peer, under_load
from tests.bench.http_wire import Load, post
from tests.bench.line import OURS, Result, play

CONNECTIONS = 128

REQUEST = post(
    "/digitaltwins/boiler-7/telemetry?api-version=2023-10-31",
    b'{"temperature":21.5,"humidity":40.25}',
    Authorization=f"Bearer {TOKEN}",
    Message_Id="message-#NUMBER#",
)


def results(rounds: int, said: Callable[[str], None]) -> Iterator[Result]:
    """See `tests.bench.line`."""
    with (
        kafka(["boiler-7"]) as bootstrap,
        edge("http", bootstrap) as (ours, our_pid),
        peer("http") as (other, other_pid),
    ):
        candidates = {
            OURS: functools.partial(under_load, Load(ours, REQUEST, CONNECTIONS), our_pid),
            "no-op handler": functools.partial(under_load, Load(other, REQUEST, CONNECTIONS), other_pid),
        }
        yield Result(
            "http-1: one message of Digital Twins, acknowledged by Kafka",
            "requests",
            play(candidates, rounds, said),
            ratios={"no-op handler": 0.6},
        )
