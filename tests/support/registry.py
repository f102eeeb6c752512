"""When the processes of a stack know the devices that were registered: each follows the topic by itself."""

import re

import aiohttp

from headrace.stack.stack import Stack
from tests.support.processes import until

_KNOWN = re.compile(r"^headrace_registry_devices (\S+)$", re.MULTILINE)


async def known(stack: Stack, devices: int) -> None:
    """Return when the edges and the processor know so many."""
    async with aiohttp.ClientSession() as session:
        for name in ("http", "coap", "process"):
            url = f"http://127.0.0.1:{getattr(stack.settings, f'{name}_health_port')}/metrics"

            async def knows(url: str = url) -> bool:
                async with session.get(url) as response:
                    found = _KNOWN.search(await response.text())
                return found is not None and float(found[1]) >= devices

            await until(knows)
