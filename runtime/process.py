"""The life of an asyncio process: configured, run until told to stop, stopped in order."""

import asyncio
import signal


async def until_told_to_stop() -> None:
    """Return when SIGTERM or SIGINT arrives."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await stop.wait()
