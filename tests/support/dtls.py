"""A DTLS device for tests: pyOpenSSL's client side over a UDP socket."""

import asyncio
import contextlib
import shutil
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from aiocoap import Message
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from OpenSSL import SSL

from headrace.stack.pki import DEVICE, Pki
from producers.coap.dtls_session import datagrams
from tests.support.coap import Peer, answer, peer

_UTF8_STRING, _TELETEX_STRING, _BIT_STRING, _SEQUENCE = 0x0C, 0x14, 0x03, 0x30
_ECDSA_WITH_SHA256 = bytes.fromhex("300a06082a8648ce3d040302")


def connection(pki: Pki | None = None, key: tuple[str, bytes] | None = None) -> SSL.Connection:
    """A device's side of an association, by certificate, by a name and its key, or by nothing; nothing was said yet."""
    context = SSL.Context(SSL.DTLS_CLIENT_METHOD)
    context.set_options(SSL.OP_NO_QUERY_MTU)
    if key is not None:
        _use_key(context, *key)
    if pki is not None:
        context.use_certificate_chain_file(str(pki.certificate("device")))
        context.use_privatekey_file(str(pki.private_key("device")))
    made = SSL.Connection(context, None)
    made.set_ciphertext_mtu(1280)
    made.set_connect_state()
    return made


def output(from_connection: SSL.Connection) -> list[bytes]:
    """The datagrams that OpenSSL wants to be sent."""
    try:
        return list(datagrams(from_connection.bio_read(1 << 18)))
    except SSL.WantReadError:
        return []


class Device:
    """One association, from its first ClientHello on."""

    def __init__(self, socket: Peer, pki: Pki | None = None, *, key: tuple[str, bytes] | None = None) -> None:
        self.socket = socket
        self.connection = connection(pki, key)

    def output(self) -> list[bytes]:
        """The datagrams that OpenSSL wants to be sent."""
        return output(self.connection)

    def begin(self) -> bytes:
        """The first ClientHello, not sent yet."""
        with contextlib.suppress(SSL.WantReadError):
            self.connection.do_handshake()
        (hello,) = self.output()
        return hello

    def flush(self) -> None:
        """Send what OpenSSL wants to be sent."""
        for datagram in self.output():
            self.socket.send(datagram)

    async def hear(self) -> None:
        """Take the next datagram."""
        self.connection.bio_write(await asyncio.wait_for(self.socket.mail.get(), 10))

    async def cookie(self) -> list[bytes]:
        """The second ClientHello, with its cookie, not sent yet."""
        self.socket.send(self.begin())
        await self.hear()
        with contextlib.suppress(SSL.WantReadError):
            self.connection.do_handshake()
        return self.output()

    async def shake_hands(self) -> None:
        """Complete the handshake."""
        while True:
            try:
                self.connection.do_handshake()
            except SSL.WantReadError:
                self.flush()
                await self.hear()
            else:
                self.flush()
                return

    def records(self, datagram: bytes) -> list[bytes]:
        """A CoAP message as records, not sent yet."""
        self.connection.send(datagram)
        return self.output()

    async def ask(self, datagram: bytes) -> Message:
        """Send a CoAP message and return the next one that comes."""
        for record in self.records(datagram):
            self.socket.send(record)
        return answer(await self.read())

    def say_goodbye(self) -> None:
        """End the session as a device does that knows it will not come back."""
        with contextlib.suppress(SSL.Error):  # it was never complete
            self.connection.shutdown()
        self.flush()

    async def read(self) -> bytes:
        """The next decrypted datagram; SSL.ZeroReturnError when the other end said goodbye."""
        while True:
            try:
                return self.connection.recv(1 << 16)
            except SSL.WantReadError:
                await self.hear()


def _use_key(context: SSL.Context, identity: str, key: bytes) -> None:
    """Let a client prove itself by a pre-shared key; pyOpenSSL has no public way to (26.4)."""
    lib: Any = SSL._lib  # type: ignore[attr-defined]
    ffi: Any = SSL._ffi  # type: ignore[attr-defined]

    def answer(_: Any, __: Any, name: Any, ___: int, out: Any, ____: int) -> int:
        ffi.memmove(name, identity.encode() + b"\0", len(identity) + 1)
        ffi.memmove(out, key, len(key))
        return len(key)

    signature = "unsigned int(SSL *, const char *, char *, unsigned int, unsigned char *, unsigned int)"
    callback = ffi.callback(signature, answer)
    context.set_cipher_list(b"PSK-AES128-GCM-SHA256")
    lib.SSL_CTX_set_psk_client_callback(context._context, callback)
    context.set_app_data(callback)  # it has to live as long as the context does


@contextlib.asynccontextmanager
async def device(port: int, pki: Pki | None = None) -> AsyncIterator[Device]:
    """A device with an established session."""
    async with peer(port) as socket:
        this = Device(socket, pki)
        await this.shake_hands()
        yield this


def presenting(certificate: bytes, pki: Pki, folder: Path) -> Pki:
    """A PKI whose device holds its key, but shows this certificate (DER)."""
    folder.mkdir(exist_ok=True)
    mine = Pki(folder)
    mine.certificate("device").write_text(ssl.DER_cert_to_PEM_cert(certificate))
    shutil.copy(pki.private_key("device"), mine.private_key("device"))
    return mine


def unreadable_name(certificate: bytes, name: str = DEVICE) -> bytes:
    """The certificate (DER), its common name a TeletexString of bytes that are no text."""
    text = name.encode()
    return certificate.replace(
        bytes([_UTF8_STRING, len(text)]) + text, bytes([_TELETEX_STRING, len(text)]) + b"\xff" * len(text), 1
    )


def certified(content: bytes, pki: Pki) -> bytes:
    """A certificate (DER) of that content (TBSCertificate), whatever it is, signed by the authority."""
    key = load_pem_private_key(pki.private_key("ca").read_bytes(), password=None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    signature = b"\0" + key.sign(content, ec.ECDSA(hashes.SHA256()))
    return _tagged(_SEQUENCE, content + _ECDSA_WITH_SHA256 + _tagged(_BIT_STRING, signature))


def _tagged(tag: int, content: bytes) -> bytes:
    length = len(content)
    return bytes([tag]) + (bytes([length]) if length < 128 else b"\x82" + length.to_bytes(2, "big")) + content
