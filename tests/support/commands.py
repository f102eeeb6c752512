"""The operator's commands as processes of their own, against a stack."""

import asyncio
import os
import sys
from asyncio.subprocess import PIPE
from dataclasses import dataclass

from headrace.stack.stack import Stack


@dataclass(frozen=True)
class Told:
    """What a command said, and its exit code: that of a signal is negative."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        """What it said on standard output, line by line."""
        return self.out.splitlines()


async def headrace(stack: Stack, *arguments: str, **settings: str) -> Told:
    """Run `headrace` with these arguments; a setting is a variable of the environment, without HEADRACE_."""
    environment = os.environ | {
        "HEADRACE_KAFKA__BOOTSTRAP": stack.bootstrap,
        "HEADRACE_CLICKHOUSE__URL": stack.clickhouse_url,
        "COLUMNS": "200",
        **{f"HEADRACE_{name}": value for name, value in settings.items()},
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "headrace", *arguments, env=environment, stdout=PIPE, stderr=PIPE
    )
    try:
        out, err = await asyncio.wait_for(process.communicate(), 120)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode is not None
    return Told(process.returncode, out.decode(), err.decode())
