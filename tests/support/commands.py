"""The operator's commands against a stack: within this process, or as processes that can be killed."""

import asyncio
import os
import sys
from asyncio.subprocess import PIPE
from dataclasses import dataclass

import typer
from typer.testing import CliRunner

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


def _settings(stack: Stack, settings: dict[str, str]) -> dict[str, str]:
    return {
        "HEADRACE_KAFKA__BOOTSTRAP": stack.bootstrap,
        "HEADRACE_CLICKHOUSE__URL": stack.clickhouse_url,
        "COLUMNS": "200",
        **{f"HEADRACE_{name}": value for name, value in settings.items()},
    }


async def invoked(app: typer.Typer, stack: Stack, *arguments: str, **settings: str) -> Told:
    """Run a command in a thread; a setting is a variable of the environment, without HEADRACE_. One at a time."""
    environment = _settings(stack, settings)
    done = await asyncio.to_thread(CliRunner().invoke, app, arguments, env=environment)
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return Told(done.exit_code, done.stdout, done.stderr)


async def headrace(stack: Stack, *arguments: str, **settings: str) -> Told:
    """Run `headrace` with these arguments, as a process of its own."""
    environment = os.environ | _settings(stack, settings)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "headrace", *arguments, env=environment, stdout=PIPE, stderr=PIPE
    )
    try:
        out, err = await asyncio.wait_for(process.communicate(), 200)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode is not None
    return Told(process.returncode, out.decode(), err.decode())
