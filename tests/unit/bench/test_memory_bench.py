"""What the memory bench says of a run."""

import pytest

from tests.bench.memory import BASE, PROCESSES, Run, mistakes
from tests.bench.resident import SETTLED, Sample


@pytest.mark.parametrize("process", PROCESSES)
def test_every_process_is_judged(process):
    """Whichever process holds a fifth more at the end than at minute two, it is named, and no other."""
    then, now = Sample(100, 100, 100), Sample(120, 120, 120)
    steady, grown = [then] * (BASE * 60 + SETTLED), [then] * BASE * 60 + [now] * SETTLED
    samples = {name: grown if name == process else steady for name in PROCESSES}
    assert mistakes(Run(samples, [{}])) == [f"{process} grew by 20.0%, more than 10%"]
