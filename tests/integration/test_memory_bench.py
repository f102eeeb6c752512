"""The memory bench itself: what it measures takes minutes, that it works does not."""

import json
import subprocess
import sys
from pathlib import Path

from tests.bench.memory import PROCESSES

SECONDS = 12


def test_a_short_run(tmp_path: Path):
    """A short run loads both edges, is accepted in every way that it should be, and shows every process."""
    samples = tmp_path / "run.json"
    options = [
        "--minutes",
        str(SECONDS / 60),
        "--rate",
        "100",
        "--json",
        samples,
        "--folder",
        tmp_path / "stack",
    ]
    command = [sys.executable, "-m", "tests.bench.memory", *map(str, options)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=240)

    assert 0 == done.returncode, done.stdout + done.stderr
    assert dict.fromkeys(PROCESSES, SECONDS) == {
        name: len(series) for name, series in json.loads(samples.read_text())["samples"].items()
    }
    table = done.stdout[done.stdout.index("Resident memory") :].splitlines()
    assert set(PROCESSES) <= {row.partition(" ")[0] for row in table}
