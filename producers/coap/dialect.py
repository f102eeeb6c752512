"""Dialect: one vendor's device API below one root path."""

from collections.abc import Sequence
from typing import Protocol

import msgspec

from producers.coap.remote import Proof
from runtime.devices import Speaker
from schemas.raw_message import RawMessage


class Arrival(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A whole body, and the circumstances of the message that completed it."""

    path: Sequence[str]
    """The segments below the dialect's root, as they were admitted."""
    endpoint: str
    message_id: int
    token: bytes
    body: bytes
    received_at: int
    """Microseconds since 1970, UTC."""


class Dialect(Protocol):
    """What the site asks of a vendor's API. Both answers come from memory, at once."""

    name: str
    """As in `schemas.topics.RAW_TOPICS`."""

    def admit(self, method: int, path: Sequence[str], proof: Proof) -> Speaker:
        """The device that speaks, before any of its body is kept.

        Args:
            method: the code of the request.
            path: the segments below the dialect's root.
            proof: what the DTLS session proved.

        Raises:
            producers.coap.refusal.Refused: it may not, or not so.

        """

    def read(self, device: Speaker, arrival: Arrival) -> RawMessage:
        """The message that the body is.

        Raises:
            producers.coap.refusal.Refused: it is none.

        """
