"""KeySet: the public keys that bearer tokens are signed with, from a URL or a file, kept current in the background."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import structlog
from aiohttp import ClientError, ClientSession, ClientTimeout, StreamReader
from jwt import PyJWK
from jwt.exceptions import PyJWTError

from producers.metrics import Credential, count_renewal

ALGORITHMS = ("RS256", "ES256")
"""What a token may be signed with; keys of other kinds in the set are left aside."""

COOLDOWN = 30.0
"""Seconds between two looks that tokens with unknown keys can cause: a guess must not become a request each."""

PATIENCE = 3.0
"""Seconds that a request with an unknown key waits for the look that it caused."""

LONGEST = 10.0
"""Seconds that a look may take."""

LARGEST = 1 << 20
"""Bytes of the largest key set."""

log = structlog.get_logger()


class Unreadable(Exception):
    """The key set cannot be had, or is none. Says nothing of what the source answered with."""


class KeySet:
    """Finds keys in memory; only who asks for an unknown key waits, and not for long.

    A key that is gone from the source is gone here after the next look. While the source is away, what was known stays.
    """

    def __init__(self, source: str, *, every: float, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._source = source
        self._every = every
        self._monotonic = monotonic
        self._keys: Mapping[str, PyJWK] = {}
        self._looked_at = float("-inf")
        self._look: asyncio.Task[None] | None = None

    @property
    def empty(self) -> bool:
        """No key was ever read: nobody's token can be judged."""
        return not self._keys

    def __contains__(self, key_id: str) -> bool:
        """Whether the key is known, without a look."""
        return key_id in self._keys

    async def find(self, key_id: str) -> PyJWK | None:
        """The key of that id, if need be after another look at the source."""
        if key_id not in self._keys:
            if self._monotonic() - self._looked_at >= COOLDOWN:
                self._begin()
            if self._look is not None and not self._look.done():
                await asyncio.wait({self._look}, timeout=PATIENCE)
        return self._keys.get(key_id)

    @asynccontextmanager
    async def kept(self) -> AsyncIterator[None]:
        """Keep the keys current while the block runs."""
        await asyncio.wait({self._begin()})
        keeper = asyncio.create_task(self._keep())
        try:
            yield
        finally:
            tasks = [task for task in (keeper, self._look) if task is not None]
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)

    async def _keep(self) -> None:
        while True:
            await asyncio.sleep(min(self._every, COOLDOWN) if self.empty else self._every)
            await asyncio.wait({self._begin()})

    def _begin(self) -> asyncio.Task[None]:
        """Look, unless somebody looks already."""
        if self._look is None or self._look.done():
            self._looked_at = self._monotonic()
            self._look = asyncio.create_task(self._read())
        return self._look

    async def _read(self) -> None:
        try:
            keys = _keys(await _fetched(self._source))
        except Unreadable as error:
            log.warning("key set not read", error=str(error), keys_in_force=len(self._keys))
            count_renewal(Credential.KEY_SET, used=False)
            return
        if keys.keys() != self._keys.keys():
            log.info("key set read", keys=len(keys))
        self._keys = keys
        count_renewal(Credential.KEY_SET, used=True)


async def _fetched(source: str) -> bytes:
    try:
        if not source.startswith(("http://", "https://")):
            return await asyncio.to_thread(Path(source).read_bytes)
        async with (
            ClientSession(timeout=ClientTimeout(total=LONGEST)) as client,
            client.get(source) as answer,
        ):
            if answer.status != 200:  # noqa: PLR2004 - OK
                raise Unreadable(f"its source answered with status {answer.status}")
            return await _whole(answer.content)
    except (ClientError, OSError, TimeoutError, ValueError) as error:
        # The texts of these name the source, which may hold a secret.
        raise Unreadable(f"its source is away: {type(error).__name__}") from error


async def _whole(content: StreamReader) -> bytes:
    document = bytearray()
    async for piece in content.iter_any():
        document += piece
        if len(document) > LARGEST:
            raise Unreadable(f"it has more than {LARGEST} bytes")
    return bytes(document)


def _keys(document: bytes) -> Mapping[str, PyJWK]:
    """The signing keys in a JSON Web Key Set, by key id.

    Raises:
        Unreadable: it is no key set, or holds no key that could be used.

    """
    try:
        entries = msgspec.json.decode(document, type=dict[str, Any]).get("keys")
    except (ValueError, RecursionError) as error:
        raise Unreadable("it is not JSON") from error
    found = [_key(entry) for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []
    keys = {str(key.key_id): key for key in found if key is not None}
    if not keys:
        raise Unreadable(f"it holds no key with an id for {' or '.join(ALGORITHMS)}")
    return keys


def _key(entry: dict[str, Any]) -> PyJWK | None:
    """None for a key that is not for signatures, has no id, or is of another kind."""
    if entry.get("use", "sig") != "sig" or not isinstance(entry.get("kid"), str):
        return None
    try:
        key = PyJWK(entry)
    except PyJWTError:
        return None
    return key if key.algorithm_name in ALGORITHMS else None
