"""Ports, conditions and processes, for tests that start real ones."""

import asyncio
import contextlib
import itertools
import random
import socket
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

from headrace.stack.settings import StackSettings

_PORTS = range(10_000, 32_000)
"""Below those that the kernel gives to outgoing connections: one of them could take a port before its server does."""

_KINDS = (socket.SOCK_STREAM, socket.SOCK_DGRAM)


def free_ports(count: int) -> list[int]:
    """Port numbers that nobody uses now, each another, and none that another process of these tests was given."""
    with _turn:
        return list(itertools.islice(_free, count))


def _ours() -> Iterator[int]:
    """Free ports, of one hundred after the other that is reserved until this process ends."""
    hundreds = random.SystemRandom().sample(range(_PORTS.start, _PORTS.stop, 100), len(_PORTS) // 100)
    reserved: dict[int, socket.socket] = {}
    for first in itertools.cycle(hundreds):
        if first not in reserved:
            # A name that goes with its process, whatever ends that.
            reservation = socket.socket(socket.AF_UNIX)
            try:
                reservation.bind(f"\0headrace-tests-{first}")
            except OSError:
                reservation.close()
                continue
            reserved[first] = reservation
        yield from filter(_is_free, range(first, first + 100))


_free, _turn = _ours(), threading.Lock()


def _is_free(port: int) -> bool:
    with contextlib.ExitStack() as stack:
        try:
            for kind in _KINDS:
                stack.enter_context(socket.socket(type=kind)).bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def stack_settings(state: Path, *, partitions: int = 4) -> StackSettings:
    """A stack that meets no other one: its own folder and free ports, and the shared cache of downloads."""
    names = [name for name in StackSettings.model_fields if name.endswith("_port")]
    ports = dict(zip(names, free_ports(len(names)), strict=True))
    return StackSettings(state=state, partitions=partitions, **ports)  # type: ignore[arg-type]


async def until(
    condition: Callable[[], Awaitable[bool] | bool], *, within: float = 30, every: float = 0.02
) -> None:
    """Return once the condition, asked every so many seconds, holds; TimeoutError if it does not within that time."""
    deadline = time.monotonic() + within
    while True:
        holds = condition()
        if isinstance(holds, Awaitable):
            holds = await holds
        if holds:
            return
        if time.monotonic() > deadline:
            raise TimeoutError(f"{condition} did not hold within {within} s")
        await asyncio.sleep(every)


def lives(pid: int) -> bool:
    """True if the process exists and is not merely waiting for its parent to notice its end."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
