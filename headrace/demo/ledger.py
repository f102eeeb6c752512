"""Ledger: what clients were told, to be held against what ClickHouse has."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from schemas.reading import Feature

REPEATED = 0.1
"""Share of the messages that a client sends twice, as one does that missed the answer."""

Value = tuple[str, Feature, str, str, float]
"""Device, feature, quantity, sensor and number: unique in a demo, since every number is sent once."""


@dataclass(slots=True)
class Ledger:
    """One dialect's messages by what the client was told."""

    sent: int = 0
    accepted: int = 0
    refused: int = 0
    repeats: int = 0
    """Accepted messages that repeat an accepted one."""
    unusable: int = 0
    """Accepted messages that cannot become readings."""
    values: Counter[Value] = field(default_factory=Counter)
    """Every value of an accepted message, once."""

    def accept(self, values: Iterable[Value], *, messages: int = 1) -> None:
        """Messages that were accepted for the first time."""
        self.sent += messages
        self.accepted += messages
        self.values.update(values)

    def repeat(self, *, messages: int = 1) -> None:
        """Messages that were accepted once more."""
        self.sent += messages
        self.accepted += messages
        self.repeats += messages

    def waste(self) -> None:
        """A message that was accepted and is of no use."""
        self.sent += 1
        self.accepted += 1
        self.unusable += 1

    def refuse(self) -> None:
        """A message that was refused."""
        self.sent += 1
        self.refused += 1
