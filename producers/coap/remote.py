"""Remote: the other end of a conversation, whatever carries it."""

from collections.abc import Hashable
from typing import Protocol


class Remote(Protocol):
    """One endpoint in the sense of RFC 7252, section 1.2: an address, and the security that it speaks under."""

    @property
    def key(self) -> Hashable:
        """Equal for equal endpoints. Two DTLS sessions of one address are two endpoints (section 9.1.2)."""

    @property
    def endpoint(self) -> str:
        """The same as text; part of a message's identity."""

    @property
    def certificate(self) -> bytes | None:
        """The X.509 certificate (DER) whose key the other end proved to hold."""

    def send(self, datagram: bytes) -> None:
        """Send, or drop what can no longer be sent: UDP promises no more."""
