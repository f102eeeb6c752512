"""What the formula of docs/sizing.md says."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.bench.footprint import CADENCES, Footprint
from tests.bench.sizing import Costs, need

COSTS = Costs(edge=30e-6, processor=20e-6, sink=2e-6, clickhouse=6e-6)
STORED = {cadence: {"readings": 15.0} for cadence in CADENCES}
BYTES = Footprint(device=500, place=200, identity=80, raw=100, block=2000, block_message=100, stored=STORED)


@given(st.integers(1, 10**7), st.sampled_from(list(CADENCES)))
def test_no_process_needs_more_of_its_core_than_it_may(devices, cadence):
    """Whatever the fleet, each process has room left, and one of each kind may be away."""
    found = need(COSTS, BYTES, devices, cadence)
    for processes, cost in (
        (found.edges, COSTS.edge),
        (found.processors, COSTS.processor),
        (found.sinks, COSTS.sink),
    ):
        assert processes >= 2
        assert found.rate * cost / processes <= 0.6
    assert found.partitions >= 2 * max(found.processors, found.sinks)


@given(st.integers(1, 10**7), st.sampled_from(list(CADENCES)))
def test_a_larger_fleet_never_needs_less(devices, cadence):
    """Everything grows with the number of devices."""
    small, large = (need(COSTS, BYTES, number, cadence) for number in (devices, devices * 2))
    assert large.memory > small.memory
    assert large.log_gb > small.log_gb
    assert large.partitions >= small.partitions
    assert large.stored_gb["readings"] == pytest.approx(2 * small.stored_gb["readings"])


def test_a_quiet_fleet_makes_a_block_a_message():
    """Where partitions hear less than ten messages a second, each of them is a block of its own."""
    found = need(COSTS, BYTES, 600, "a minute")
    assert found.log_gb == pytest.approx(10 * (100 + 100 + 2000) * 86_400 / 1e9)
