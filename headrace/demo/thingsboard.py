"""Thermometers that speak ThingsBoard's CoAP, sent with aiocoap's client."""

import asyncio
import json
import random
import time
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from typing import Any

import aiocoap
from aiocoap.numbers import ContentFormat

from headrace.demo.errors import DemoError
from headrace.demo.ledger import REPEATED, Ledger
from schemas.reading import Feature

SOCKETS = 8
"""One client has one message on its way at a time (RFC 7252, NSTART), so several clients send."""

UNUSABLE_TS = 99_999_999_999_999
"""Year 5138: accepted, as ThingsBoard does, and then a dead letter."""


async def send(
    url: str, tokens: dict[str, str], devices: Sequence[str], messages: int, advance: Callable[[int], None]
) -> Ledger:
    """Send so many messages, repeat a tenth of them, and make some mistakes; tokens are by device."""
    ledger = Ledger()
    async with AsyncExitStack() as clients:
        contexts = [await aiocoap.Context.create_client_context() for _ in range(SOCKETS)]
        for context in contexts:
            clients.push_async_callback(context.shutdown)

        async def messages_of(socket: int) -> None:
            for number in range(socket, messages, SOCKETS):
                await _message(contexts[socket], number)
                advance(1)

        async def _message(context: aiocoap.Context, number: int) -> None:
            device = devices[number % len(devices)]
            values = {"temperature": number, "humidity": number + 0.5}
            body: Any = values
            if again := random.random() < REPEATED:
                body = {"ts": time.time_ns() // 1_000_000, "values": values}
            await _post(context, url, tokens[device], body, aiocoap.CREATED)
            ledger.accept(
                (device, Feature.TELEMETRY, name, "", float(value)) for name, value in values.items()
            )
            if again:
                await _post(context, url, tokens[device], body, aiocoap.CREATED)
                ledger.repeat()

        await asyncio.gather(*(messages_of(socket) for socket in range(SOCKETS)))
        await _mistakes(contexts[0], url, tokens[devices[0]], ledger)
    return ledger


async def _mistakes(context: aiocoap.Context, url: str, token: str, ledger: Ledger) -> None:
    await _post(context, url, "nobodys-token", {"temperature": 1}, aiocoap.UNAUTHORIZED)
    ledger.refuse()
    await _post(context, url, token, "no object", aiocoap.BAD_REQUEST)
    ledger.refuse()
    for number in range(5):
        await _post(
            context, url, token, {"ts": UNUSABLE_TS, "values": {"temperature": number}}, aiocoap.CREATED
        )
        ledger.waste()


async def _post(context: aiocoap.Context, url: str, token: str, body: Any, expected: aiocoap.Code) -> None:
    request = aiocoap.Message(
        code=aiocoap.POST,
        uri=f"{url}/api/v1/{token}/telemetry",
        payload=json.dumps(body).encode(),
        content_format=ContentFormat.JSON,
    )
    response = await context.request(request).response
    if response.code != expected:
        raise DemoError(f"CoAP answered {response.code} where {expected} was promised")
