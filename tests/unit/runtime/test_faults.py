"""Fault points."""

import signal
import subprocess
import sys
from pathlib import Path

PROGRAM = """
from runtime.faults import Moment, reached
for _ in range(3):
    reached(Moment.CHUNK_TAKEN)
    reached(Moment.BLOCKS_SENT)
    print("alive", flush=True)
"""


def run(**settings: str) -> subprocess.CompletedProcess[str]:
    """A process that reaches two moments, three times each."""
    environment = {f"HEADRACE_FAULT__{name.upper()}": value for name, value in settings.items()}
    return subprocess.run(
        [sys.executable, "-c", PROGRAM], env=environment, check=False, capture_output=True, text=True
    )


def test_nothing_happens_unless_a_test_asks():
    """Without a setting a moment passes."""
    done = run()

    assert (0, 3) == (done.returncode, done.stdout.count("alive"))


def test_a_process_is_killed_at_the_moment_that_was_asked_for(tmp_path: Path):
    """The second time that it is reached, and no other moment counts."""
    done = run(moment="blocks-sent", after="2", latch=str(tmp_path / "latch"))

    assert (-signal.SIGKILL, 1) == (done.returncode, done.stdout.count("alive"))
    assert (tmp_path / "latch").read_text().isdigit()


def test_a_fault_happens_once(tmp_path: Path):
    """A process that is started again with the same settings lives."""
    run(moment="blocks-sent", latch=str(tmp_path / "latch"))

    assert 0 == run(moment="blocks-sent", latch=str(tmp_path / "latch")).returncode
