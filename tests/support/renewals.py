"""Renewals of credentials: files that take the place of others, and how often an edge counted that."""

import shutil

from prometheus_client import REGISTRY

from headrace.stack.pki import Pki
from producers.metrics import Credential


def install(renewed: Pki, live: Pki, *files: str) -> None:
    """Put renewed files in the place of those that the edge reads, as a renewal does: each at once."""
    for file in files:
        shutil.copy(renewed.folder / file, live.folder / f"{file}.new")
        (live.folder / f"{file}.new").rename(live.folder / file)


def renewals(credential: Credential, outcome: str) -> float:
    """How many there were so far: `used` or `failed`."""
    labels = {"credential": credential.value, "outcome": outcome}
    return REGISTRY.get_sample_value("headrace_edge_renewals_total", labels) or 0.0
