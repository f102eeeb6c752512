"""What a line of the bench says of its figures."""

import importlib

import pytest

from tests.bench.__main__ import LINES, together
from tests.bench.line import OURS, Figure, Result


def result(ours, other, *, least=0.0, ratios=None):
    """A line with one peer; rates by round."""
    figures = {
        OURS: [Figure(rate, 1.0, 1.0) for rate in ours],
        "peer": [Figure(rate, 1.0, 1.0) for rate in other],
    }
    return Result("line", "messages", figures, least, ratios or {})


@pytest.mark.parametrize("module", LINES.values())
def test_every_line_can_be_played(module):
    """Each line's module is there, and has what plays it."""
    assert callable(importlib.import_module(module).results)


def test_a_rate_is_the_median_of_its_rounds():
    """One round that something disturbed does not count."""
    assert result([100, 1, 110], [1, 1, 1]).rate(OURS) == 100


def test_a_ratio_is_taken_round_by_round():
    """What slows a whole round down slows both, and leaves the ratio as it is."""
    assert result([100, 10, 100], [50, 5, 50]).ratio("peer") == 2


@pytest.mark.parametrize(
    ("asked", "missed"),
    [
        ({}, []),
        ({"least": 100}, []),
        ({"least": 101}, ["line: 100 messages/CPU-s, 101 are asked"]),
        ({"ratios": {"peer": 2}}, []),
        ({"ratios": {"peer": 2.5}}, ["line: 2.00 x peer, 2.5 x is asked"]),
        ({"ratios": {"somebody who was left out": 2}}, []),
    ],
)
def test_what_is_not_reached_is_said(asked, missed):
    """What is asked and not reached is a sentence each; nothing is asked of a peer that was left out."""
    assert result([100], [50], **asked).missed() == missed


def test_processor_and_sink_are_added_up():
    """A message takes its own share of the processor and three readings' share of the sink."""
    process = Result("process", "messages", {OURS: [Figure(100, 1.0, 1.0)]})
    sink = Result("sink", "rows", {OURS: [Figure(600, 1.0, 1.0)]})
    (both,) = together([process, sink])
    assert both.rate(OURS) == pytest.approx(1 / (1 / 100 + 3 / 600))


def test_nothing_is_added_up_without_both():
    """A sink alone says nothing about both."""
    assert list(together([Result("sink", "rows", {OURS: [Figure(600, 1.0, 1.0)]})])) == []
