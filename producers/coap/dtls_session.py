"""One DTLS association: OpenSSL between two memory buffers, its records in datagrams."""

import asyncio
import contextlib
from collections.abc import Iterator
from typing import Protocol

from aiocoap.util import hostportjoin
from OpenSSL import SSL

from producers.coap.dtls_context import proof, reason
from producers.coap.dtls_handshake import is_too_long
from producers.coap.remote import NOTHING
from producers.coap.udp import Address
from producers.metrics import Dropped, Ending, count_dropped, count_ended

MTU = 1280
"""Bytes of the largest datagram that we send: what every IPv6 path carries."""

_RECORD_HEADER = 13
_READ = 1 << 18
_LONGEST_RECORD = 1 << 16


class Owner(Protocol):
    """What a session tells the transport that it lives in."""

    def transmit(self, datagram: bytes, address: Address) -> None:
        """Send to the network."""

    def admitted(self, session: "Session") -> None:
        """A device of ours speaks in it; called again and again."""

    def received(self, session: "Session", data: bytes) -> None:
        """A decrypted datagram arrived."""

    def closed(self, session: "Session", why: str) -> None:
        """The session is over; called once."""


class Session:
    """An endpoint of its own: a later session from the same address is another one (RFC 7252, section 9.1.2)."""

    def __init__(
        self, owner: Owner, connection: SSL.Connection, address: Address, client_random: bytes, now: float
    ) -> None:
        self._owner = owner
        self._connection: SSL.Connection | None = connection
        self._timer: asyncio.TimerHandle | None = None
        self.address = address
        self.client_random = client_random
        """Tells a repeated ClientHello from that of a device that restarted."""
        self.key = address, client_random
        """See `Remote.key`."""
        self.proof = NOTHING
        self.is_established = False
        self.began = now
        self.last_heard = now

    @property
    def endpoint(self) -> str:
        """See `Remote.endpoint`. Names the session: a retransmission never comes in another one."""
        return f"coaps://{hostportjoin(*self.address[:2])}/{self.client_random.hex()}"

    def admitted(self) -> None:
        """See `Remote.admitted`."""
        if self._connection is not None:
            self._owner.admitted(self)

    def send(self, datagram: bytes) -> None:
        """See `Remote.send`."""
        if self._connection is None or not self.is_established:
            return
        try:
            self._connection.send(datagram)
        except SSL.Error as error:
            self.close(Ending.BROKEN, f"cannot send: {reason(error)}")
            return
        self._flush()

    def feed(self, datagram: bytes, now: float) -> None:
        """Take what arrived from the network."""
        if self._connection is None:
            return
        self.last_heard = now
        if not self.is_established and is_too_long(datagram):
            count_dropped(Dropped.MALFORMED)
            return
        self._connection.bio_write(datagram)
        self.advance()

    def advance(self) -> None:
        """Do what the records that arrived so far allow."""
        if self._connection is None:
            return
        try:
            if not self.is_established:
                self._shake_hands(self._connection)
            self._read()
        except SSL.WantReadError:
            self._flush()
            self._arm()
        except SSL.ZeroReturnError:
            self.close(Ending.CLOSED, "closed by the device")
        except SSL.Error as error:
            self.close(Ending.BROKEN, reason(error), notify=False)

    def close(self, ending: Ending, why: str, *, notify: bool = True) -> None:
        """End the session, and tell the other end; closing twice is harmless."""
        connection, self._connection = self._connection, None
        if connection is None:
            return
        count_ended(ending, established=self.is_established)
        self._disarm()
        if notify and self.is_established:
            with contextlib.suppress(SSL.Error):  # it is over either way
                connection.shutdown()
            self._drain(connection)
        self._owner.closed(self, why)

    def _shake_hands(self, connection: SSL.Connection) -> None:
        try:
            connection.do_handshake()
        finally:
            self._drain(connection)  # the next flight, or the alert that says why not
        try:
            self.proof = proof(connection)
        except Exception as error:  # noqa: BLE001 - anybody can make a certificate: whatever it does, it ends here
            self.close(Ending.BROKEN, f"cannot read the certificate: {error!r}", notify=False)
            return
        self.is_established = True
        self._disarm()

    def _read(self) -> None:
        while self._connection is not None:  # whoever receives may close us
            self._owner.received(self, self._connection.recv(_LONGEST_RECORD))

    def _flush(self) -> None:
        if self._connection is not None:
            self._drain(self._connection)

    def _drain(self, connection: SSL.Connection) -> None:
        try:
            output = connection.bio_read(_READ)
        except SSL.WantReadError:
            return
        for datagram in datagrams(output):
            self._owner.transmit(datagram, self.address)

    def _arm(self) -> None:
        """Repeat our flight of the handshake when the other end stays silent."""
        self._disarm()
        if self._connection is None or self.is_established:
            return
        seconds = self._connection.DTLSv1_get_timeout()
        if seconds is not None:
            self._timer = asyncio.get_running_loop().call_later(seconds, self._repeat)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _repeat(self) -> None:
        self._timer = None
        if self._connection is None:
            return
        try:
            self._connection.DTLSv1_handle_timeout()
        except SSL.Error as error:
            self.close(Ending.SILENT, f"no answer in the handshake: {reason(error)}", notify=False)
            return
        self._flush()
        self._arm()


def datagrams(output: bytes) -> Iterator[bytes]:
    """Cut OpenSSL's output, a stream of bytes, at the borders of DTLS records; as many as fit share a datagram."""
    begin = position = 0
    while position + _RECORD_HEADER <= len(output):
        length = int.from_bytes(output[position + 11 : position + _RECORD_HEADER], "big")
        end = position + _RECORD_HEADER + length
        if position > begin and end - begin > MTU:
            yield output[begin:position]
            begin = position
        position = end
    if position > begin:
        yield output[begin:position]
