"""Ledger: every message of one cell, what it says, how often it was sent, and how often the client heard success."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

Value = tuple[str, str, str, float, int]
"""Device, quantity, sensor, number, and when it was measured in microseconds: unique in a cell."""


@dataclass(slots=True, kw_only=True)
class Sent:
    """One message: everything that becomes one raw record when an edge takes it."""

    device: str
    values: Sequence[Value]
    """What it becomes in `readings`; nothing, if it is one that cannot be used."""
    attempts: int = 0
    accepted: int = 0
    """Attempts that were answered with success."""

    @property
    def unusable(self) -> bool:
        """Whether its fate is to become a dead letter."""
        return not self.values


@dataclass(slots=True)
class Ledger:
    """What the clients of one cell did and heard."""

    messages: list[Sent] = field(default_factory=list)
    refused: int = 0
    """Attempts that were answered with anything but success."""
    unanswered: int = 0
    """Attempts that were not answered at all."""

    @property
    def accepted(self) -> int:
        """Messages of which the client heard success."""
        return sum(1 for message in self.messages if message.accepted)

    heard: int = 0
    """Attempts that were answered with success."""

    @property
    def trouble(self) -> int:
        """Attempts that came to nothing, as far as the client knows."""
        return self.refused + self.unanswered

    def attempt(self, messages: Iterable[Sent]) -> None:
        """They go out once more."""
        for message in messages:
            message.attempts += 1

    def accept(self, messages: Iterable[Sent]) -> None:
        """The client heard success."""
        for message in messages:
            message.accepted += 1
