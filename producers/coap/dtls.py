"""CoAP over DTLS: no memory for strangers, bounded memory for devices."""

import asyncio
import hmac
import os
from collections import OrderedDict
from typing import cast

import structlog
from OpenSSL import SSL

from producers.coap.dtls_session import MTU, Session
from producers.coap.udp import Address, Receive, transmit
from producers.metrics import Dropped, Ending, count_dropped

MAX_STRANGERS = 500
HANDSHAKE_SECONDS = 20.0
STRANGER_SECONDS = 60.0
"""From its first hello until a session has to have brought something that a device of ours may say: a certificate that
anybody made for himself is enough for a session, and must not be enough for a day."""

IDLE_SECONDS = 86_400.0
"""ThingsBoard's session inactivity timeout. A session that ends earlier costs the device minutes of silence, since it
cannot know; `max_sessions` bounds the memory, the longest silent go first."""

_COOKIE_SECONDS = 30
_SWEEP_SECONDS = 1.0
_HANDSHAKE, _CLIENT_HELLO, _CONTENT_TYPES, _VERSION = 22, 1, range(20, 26), 0xFE
_RECORD_HEADER, _RANDOM = 13, slice(27, 59)

log = structlog.get_logger()


class DtlsTransport(asyncio.DatagramProtocol):
    """Sessions by address, their decrypted datagrams handed to the message layer.

    Args:
        context: from `dtls_context.server_context`; see `renew`.
        receive: takes each datagram.
        max_sessions: of devices; beyond it the one goes that was silent longest.
        max_strangers: from the first hello that brings its cookie until a message of theirs was admitted; beyond it the
            oldest is given up, so that newcomers always get a turn.
        idle: seconds of silence after which a session ends.
        handshake: seconds that a handshake may take.
        stranger: seconds after which a stranger's session ends.

    """

    def __init__(
        self,
        context: SSL.Context,
        receive: Receive,
        *,
        max_sessions: int,
        max_strangers: int = MAX_STRANGERS,
        idle: float = IDLE_SECONDS,
        handshake: float = HANDSHAKE_SECONDS,
        stranger: float = STRANGER_SECONDS,
    ) -> None:
        self._receive = receive
        self._max_sessions, self._max_strangers = max_sessions, max_strangers
        self._idle, self._handshake, self._stranger = idle, handshake, stranger
        self._strangers: dict[Address, Session] = {}
        self._sessions: OrderedDict[Address, Session] = OrderedDict()
        self._secret = os.urandom(32)
        self._asking: Address = ()
        self.renew(context)

    def renew(self, context: SSL.Context) -> None:
        """Shake hands by another context from now on; sessions and handshakes that were begun keep theirs.

        A context serves one transport only, which sets its cookie callbacks.
        """
        context.set_cookie_generate_callback(lambda _: self._cookie(0))
        context.set_cookie_verify_callback(
            lambda _, cookie: any(hmac.compare_digest(cookie, self._cookie(age)) for age in (0, 1))
        )
        self._context = context
        self._listener: SSL.Connection | None = None

    @property
    def sessions(self) -> int:
        """How many devices there are."""
        return len(self._sessions)

    @property
    def strangers(self) -> int:
        """How many are in a handshake, or have said nothing yet that a device may say."""
        return len(self._strangers)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The socket is ours."""
        # uvloop's transports have no base class in common with asyncio's.
        self._transport = cast("asyncio.DatagramTransport", transport)
        self._loop = asyncio.get_running_loop()
        self._sweeper = self._loop.call_later(_SWEEP_SECONDS, self._sweep)

    def error_received(self, exc: Exception) -> None:
        """An answer found nobody; silence will end the session."""

    def datagram_received(self, data: bytes, addr: Address) -> None:
        """Give a session its records, and strangers a cookie."""
        if len(data) < _RECORD_HEADER or data[0] not in _CONTENT_TYPES or data[1] != _VERSION:
            count_dropped(Dropped.MALFORMED)
            return  # not DTLS: keep it from OpenSSL
        known = self._sessions.get(addr) or self._strangers.get(addr)
        if _is_first_hello(data) and (known is None or data[_RANDOM] != known.client_random):
            self._greet(data, addr)
        elif known is not None:
            if addr in self._sessions:
                self._sessions.move_to_end(addr)
            known.feed(data, self._loop.time())
        else:
            # Records of a session that we lost: nothing that we could say would be believed.
            count_dropped(Dropped.NO_SESSION)

    def transmit(self, datagram: bytes, address: Address) -> None:
        """See `Owner.transmit`."""
        transmit(self._transport, datagram, address)

    def admitted(self, session: Session) -> None:
        """See `Owner.admitted`."""
        if self._strangers.pop(session.address, None) is None:
            return
        while len(self._sessions) >= self._max_sessions:
            next(iter(self._sessions.values())).close(Ending.DISPLACED, "too many sessions")
        self._sessions[session.address] = session

    def received(self, session: Session, data: bytes) -> None:
        """See `Owner.received`."""
        self._receive(session, data)

    def closed(self, session: Session, why: str) -> None:
        """See `Owner.closed`."""
        for table in (self._strangers, self._sessions):
            if table.get(session.address) is session:
                del table[session.address]
        log.debug("DTLS session closed", address=session.address[:2], why=why)

    def close(self) -> None:
        """Tell every device, and close the socket."""
        self._sweeper.cancel()
        for session in [*self._strangers.values(), *self._sessions.values()]:
            session.close(Ending.STOPPED, "the server stops")
        self._transport.close()

    def _greet(self, data: bytes, address: Address) -> None:
        """Answer a ClientHello: without memory until it brings the cookie that only this address was told.

        A device that restarted comes from the address of its old session, and has to bring the cookie as well before it
        replaces that (RFC 6347, section 4.2.8).
        """
        listener, self._listener = self._listener or self._new_listener(), None
        self._asking = address
        listener.bio_write(data)
        try:
            listener.DTLSv1_listen()
        except SSL.WantReadError:
            self._challenge(listener, address)
            return
        except SSL.Error:
            count_dropped(Dropped.MALFORMED)
            return  # a broken hello; so may be the state of that listener: it is not used again
        for known in (self._strangers.get(address), self._sessions.get(address)):
            if known is not None:
                known.close(Ending.REPLACED, "a new handshake from the same address", notify=False)
        while len(self._strangers) >= self._max_strangers:
            next(iter(self._strangers.values())).close(Ending.DISPLACED, "too many strangers")
        session = self._strangers[address] = Session(
            self, listener, address, data[_RANDOM], self._loop.time()
        )
        session.advance()

    def _challenge(self, listener: SSL.Connection, address: Address) -> None:
        self._listener = listener  # it remembers nothing: the next stranger gets the same one
        try:
            self.transmit(listener.bio_read(MTU), address)
        except SSL.WantReadError:
            count_dropped(Dropped.MALFORMED)  # OpenSSL had nothing to say to that

    def _new_listener(self) -> SSL.Connection:
        listener = SSL.Connection(self._context, None)
        listener.set_ciphertext_mtu(MTU)
        listener.set_accept_state()
        return listener

    def _cookie(self, age: int) -> bytes:
        """What this address has to bring back, from now or from some time slots ago."""
        slot = int(self._loop.time() // _COOKIE_SECONDS) - age
        return hmac.digest(self._secret, repr((self._asking[:2], slot)).encode(), "sha256")

    def _sweep(self) -> None:
        now = self._loop.time()
        while self._sessions:
            longest_silent = next(iter(self._sessions.values()))
            if now - longest_silent.last_heard < self._idle:
                break
            longest_silent.close(Ending.SILENT, "silent for too long")
        for session in list(self._strangers.values()):
            patience = self._stranger if session.is_established else self._handshake
            if now - session.began >= patience:
                reason = Ending.STRANGER if session.is_established else Ending.SILENT
                session.close(reason, "a stranger for too long")
        self._sweeper = self._loop.call_later(_SWEEP_SECONDS, self._sweep)


def _is_first_hello(data: bytes) -> bool:
    """Whether a ClientHello outside of any session begins here (epoch 0)."""
    return (
        len(data) > _RECORD_HEADER
        and data[0] == _HANDSHAKE
        and data[3:5] == b"\0\0"
        and data[_RECORD_HEADER] == _CLIENT_HELLO
    )
