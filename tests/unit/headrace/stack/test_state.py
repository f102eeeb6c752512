import os
import subprocess
import sys
from pathlib import Path

import pytest

from headrace.stack.errors import StackError
from headrace.stack.state import State

HOLD = "import os, sys; os.dup(int(sys.argv[1])); print(flush=True); sys.stdin.read()"


async def test_a_lock_names_its_holder(tmp_path: Path):
    """A folder that is in use is refused with the pid of the one that uses it."""
    async with State(tmp_path).locked():
        with pytest.raises(StackError, match=f"already running in {tmp_path}, pid {os.getpid()}"):
            await State(tmp_path).locked().__aenter__()


async def test_a_lock_is_free_again(tmp_path: Path):
    """A folder that was released can be used again, by whoever comes."""
    async with State(tmp_path).locked():
        pass

    async with State(tmp_path).locked() as lock:
        assert os.pread(lock, 32, 0) == f"{os.getpid()}\n".encode()


async def test_the_remains_of_a_killed_stack_are_waited_for(tmp_path: Path):
    """While a warden still ends what a killed supervisor left, the next stack says so and waits."""
    reports: list[str] = []
    async with State(tmp_path).locked() as lock:
        warden = subprocess.Popen(  # noqa: ASYNC220 - it is there before anything waits
            [sys.executable, "-c", HOLD, str(lock)],
            pass_fds=[lock],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert warden.stdout is not None
        warden.stdout.readline()
        os.pwrite(lock, b"999999999\n", 0)  # no such process

    def report(line: str) -> None:
        reports.append(line)
        warden.communicate()

    async with State(tmp_path).locked(report=report):
        pass

    assert reports == ["The stack of pid 999999999 was killed; waiting until its processes have ended"]


def test_clearing_keeps_the_certificates(tmp_path: Path):
    """A fresh start forgets data and logs, but not the certificates that devices trust, nor the user's own files."""
    state = State(tmp_path)
    for folder in (state.kafka, state.clickhouse, state.logs, state.pki):
        folder.mkdir()
    (tmp_path / "fleet.yaml").touch()

    state.clear()

    assert {path.name for path in tmp_path.iterdir()} == {"pki", "fleet.yaml"}
