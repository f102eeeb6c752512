"""What every client of a bench shares: its turns, and the account of what it was told."""

import asyncio
import itertools
import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from dataclasses import dataclass, field

import aiohttp
from OpenSSL import SSL

from tests.bench.fleet import Target

PATIENCE = 10.0
"""Seconds until an answer counts as none."""

HELD = 60.0
"""Seconds for which a bad client keeps what it opened and left."""

FAILED = (TimeoutError, OSError, aiohttp.ClientError, SSL.Error)
"""What a turn may end in, when the edge does not answer or closes."""

SEPARATOR = " | "


@dataclass
class Place:
    """Where a client lives."""

    target: Target
    seconds: float
    """Between two turns of a client."""
    number: int = 0
    """Which client of its kind this is."""
    answers: Counter[str] = field(default_factory=Counter)
    """By kind of client and what it was told."""

    def told(self, kind: str, answer: object, messages: int = 1) -> None:
        """Account for what a client was told about its messages."""
        self.answers[f"{kind}{SEPARATOR}{answer}"] += messages

    async def turns(self) -> AsyncIterator[int]:
        """Numbers, one each time it is the client's turn; turns that it misses are lost, not made up for."""
        now = asyncio.get_running_loop().time
        due = now() + random.uniform(0, self.seconds)
        for number in itertools.count(self.number):
            await asyncio.sleep(due - now())
            yield number
            due = max(due + self.seconds, now())

    async def try_to(self, kind: str, turn: Callable[[], Awaitable[object]], messages: int = 1) -> None:
        """Take one turn, and account for its answer, or for the kind of error that it ended in."""
        try:
            async with asyncio.timeout(PATIENCE):
                answer = await turn()
        except FAILED as error:
            answer = type(error).__name__
        self.told(kind, answer, messages)


Client = Callable[[Place], Coroutine[None, None, None]]
