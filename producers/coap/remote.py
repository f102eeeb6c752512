"""Remote: the other end of a conversation, whatever carries it."""

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Proof:
    """What the other end proved about itself, once for a whole DTLS session; plain UDP proves nothing."""

    certificate: bytes | None = None
    """The X.509 certificate (DER) whose key it holds."""
    device: str | None = None
    """The device id that a certificate authority of ours, or its pre-shared key, vouches for."""


NOTHING = Proof()


class Remote(Protocol):
    """One endpoint in the sense of RFC 7252, section 1.2: an address, and the security that it speaks under."""

    @property
    def key(self) -> Hashable:
        """Equal for equal endpoints. Two DTLS sessions of one address are two endpoints (section 9.1.2)."""

    @property
    def endpoint(self) -> str:
        """The same as text; part of a message's identity."""

    @property
    def proof(self) -> Proof:
        """What it proved."""

    def admitted(self) -> None:
        """A device of ours speaks here: worth more memory than a stranger."""

    def send(self, datagram: bytes) -> None:
        """Send, or drop what can no longer be sent: UDP promises no more."""
