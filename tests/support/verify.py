"""`headrace verify`, run as an operator does."""

import asyncio
import os
import subprocess
import sys

from headrace.stack.stack import Stack


async def verify(stack: Stack, *options: str, **environment: str) -> tuple[int | None, str]:
    """Exit code and output of the command, against this stack unless the environment says otherwise."""
    where = {"HEADRACE_KAFKA__BOOTSTRAP": stack.bootstrap, "HEADRACE_CLICKHOUSE__URL": stack.clickhouse_url}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "headrace", "verify", *options),
        env=os.environ | where | environment,
        stdout=subprocess.PIPE,
    )
    output, _ = await process.communicate()
    return process.returncode, output.decode()
