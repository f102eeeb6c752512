"""What the peers of the line `process` share: what they are given, the pure functions, and the account at the end."""

import os
import sys
import time
from typing import Any, NamedTuple

import msgspec

from processors.normalise import normalise
from runtime.devices import Places, PlaceTable
from runtime.registry import Registry
from runtime.settings import KafkaSettings
from schemas.raw_message import RawMessage

OUT = "bench-out"


class Work(NamedTuple):
    """The words of a peer's command line, in their order."""

    bootstrap: str
    group: str
    offset: int
    """Where the work of each partition begins."""
    after: int
    """Messages that are not counted: with them comes what is needed once."""
    messages: int

    @classmethod
    def given(cls) -> "Work":
        """From the command line."""
        return cls(*(kind(word) for kind, word in zip((str, str, int, int, int), sys.argv[1:], strict=True)))

    def devices(self) -> PlaceTable:
        """Who is registered, as of now."""
        with Registry(KafkaSettings(bootstrap=self.bootstrap), PlaceTable()) as registry:
            return registry.devices


class Account:
    """Counts messages, and ends the process with a line about its CPU-seconds when all are done."""

    def __init__(self, work: Work) -> None:
        self._work, self._done = work, 0
        self._cpu = self._wall = 0.0

    def done(self) -> None:
        """One more."""
        self._done += 1
        if self._done == self._work.after:
            self._cpu, self._wall = time.process_time(), time.perf_counter()
        elif self._done == self._work.messages:
            figure = {
                "work": self._done - self._work.after,
                "cpu": time.process_time() - self._cpu,
                "wall": time.perf_counter() - self._wall,
            }
            print(msgspec.json.encode(figure).decode(), flush=True)
            # There is nothing to stop in order: what it has done is of no use to anybody.
            os._exit(0)


def refined(message: RawMessage, devices: Places) -> dict[str, Any]:
    """What a peer puts out for a message."""
    place, labels = devices.known(message.tenant, message.device)
    readings = [{"quantity": r.quantity, "at": r.measured_at, "number": r.number} for r in normalise(message)]
    return {"readings": readings, "place": place, "labels": labels}
