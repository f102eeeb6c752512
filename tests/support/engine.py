"""Engine: the ClickHouse of the local stack by itself, and databases in it that have just been made."""

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

from sinks.clickhouse.client import connect
from sinks.clickhouse.migrations import migrate
from sinks.settings import ClickHouseSettings
from tests.support.processes import free_ports


@contextlib.asynccontextmanager
async def engine(path: Path) -> AsyncIterator[str]:
    """The engine as a process of its own, with its data in `path`: where it answers."""
    (port,) = free_ports(1)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "headrace.stack.clickhouse", "--path", str(path), "--port", str(port)),
        stdout=asyncio.subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    )
    assert process.stdout is not None
    assert b"Ready" in await process.stdout.readline()
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        await process.wait()


@contextlib.contextmanager
def database(url: str, name: str) -> Iterator[Any]:
    """A client in a database of this name that has just been made, with the product's tables."""
    for statement in (f"DROP DATABASE IF EXISTS {name}", f"CREATE DATABASE {name}"):
        connect(ClickHouseSettings(url=url), insert_timeout=30).command(statement)
    client = connect(ClickHouseSettings(url=url, database=name), insert_timeout=30)
    migrate(client)
    try:
        yield client
    finally:
        client.close()
