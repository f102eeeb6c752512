"""One process of load: `python -m tests.bench.load http|coap`, the target as JSON on stdin, an account each second on stdout."""

import asyncio
import dataclasses
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TextIO

import aiohttp
import msgspec

from tests.bench import coap_abuse, coap_load
from tests.bench.fleet import Target
from tests.bench.http_abuse import BadHttpClients
from tests.bench.http_load import HttpClients
from tests.bench.traffic import Client, Place

CLIENTS = 100
"""Of all processes together."""

Crowd = Sequence[tuple[Client, int]]


@asynccontextmanager
async def _http(target: Target) -> AsyncIterator[Crowd]:
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(f"http://127.0.0.1:{target.http}", connector=connector) as session:
        yield [*HttpClients(session).all(), *BadHttpClients(session).all()]


@asynccontextmanager
async def _coap(_: Target) -> AsyncIterator[Crowd]:
    yield [*coap_load.clients(), *coap_abuse.clients()]


EDGES: Mapping[str, Callable[[Target], AbstractAsyncContextManager[Crowd]]] = {"http": _http, "coap": _coap}


async def _run(edge: str, target: Target, output: TextIO) -> None:
    """Until the process is ended, or a client fails in a way that is not an answer."""
    answers: Counter[str] = Counter()
    everybody = Place(target, CLIENTS / target.rate, answers=answers)
    async with EDGES[edge](target) as crowd, asyncio.TaskGroup() as group:
        for client, count in crowd:
            for number in range(count):
                group.create_task(client(dataclasses.replace(everybody, number=number)))
        while True:
            await asyncio.sleep(1)
            print(msgspec.json.encode(answers).decode(), file=output, flush=True)


def main() -> None:
    """Send until told to stop."""
    target = msgspec.json.decode(sys.stdin.readline(), type=Target)
    try:
        asyncio.run(_run(sys.argv[1], target, sys.stdout))
    except* (KeyboardInterrupt, BrokenPipeError):
        pass  # whoever listened is gone


if __name__ == "__main__":
    main()
