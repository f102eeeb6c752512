"""`python -m headrace.stack.clickhouse --path DIR --port N`: serve until SIGTERM or Ctrl-C."""

import argparse
import asyncio
import signal
import sys
from pathlib import Path

from aiohttp import web

from headrace.stack.clickhouse.engine import Engine, EngineBusyError
from headrace.stack.clickhouse.http import MAX_LINE, Server


async def serve(engine: Engine, uploads: Path, port: int) -> None:
    """Answer on loopback until told to stop; statements that are running are let finish for ten seconds."""
    stop = asyncio.Event()
    for signum in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(signum, stop.set)
    # Bodies are decompressed here, in pieces: aiohttp does not know lz4, and would hold the whole.
    runner = web.AppRunner(
        Server(engine, uploads).application(),
        access_log=None,
        auto_decompress=False,
        max_line_size=MAX_LINE,
        max_field_size=MAX_LINE,
        shutdown_timeout=10,
    )
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", port).start()
        print(f"Ready: ClickHouse {engine.version} on http://127.0.0.1:{port}", flush=True)  # noqa: T201 - its log
        await stop.wait()
    finally:
        await runner.cleanup()


def main() -> None:
    """Read the arguments, open the engine, serve."""
    parser = argparse.ArgumentParser(prog="python -m headrace.stack.clickhouse", description=__doc__)
    parser.add_argument("--path", type=Path, required=True, help="folder of the data; created if missing")
    parser.add_argument("--port", type=int, default=8123)
    arguments = parser.parse_args()
    path = arguments.path.resolve()
    try:
        with Engine(path).opened() as engine:
            asyncio.run(serve(engine, path / "uploads", arguments.port))
    except (EngineBusyError, OSError) as error:
        sys.exit(f"ClickHouse cannot start: {error}")


if __name__ == "__main__":
    main()
