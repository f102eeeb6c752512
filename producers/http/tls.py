"""TLS of the HTTP edge: a chain and its key, and the context that serves them."""

import ssl
from pathlib import Path


class ServerCertificate:
    """A chain and its key, in PEM files.

    Each renewal is a context of its own: OpenSSL keeps one chain for each type of key, so that beside a new RSA key the old
    one of an elliptic curve would go on being served.

    Raises:
        OSError: the files cannot be read, or do not belong together (`ssl.SSLError`).

    """

    def __init__(self, certificate: Path, private_key: Path) -> None:
        self._files = certificate, private_key
        self._current = self._loaded()
        self.context = _tls()
        """For whoever listens. It has no chain: each handshake gets the one that is current when it begins."""
        self.context.sni_callback = self._choose

    def load(self) -> None:
        """Serve new connections with what the files hold now; those that are open keep what they began with.

        Raises:
            OSError: as at construction; what was served before stays.

        """
        self._current = self._loaded()

    def _loaded(self) -> ssl.SSLContext:
        context = _tls()
        # An encrypted key is an error, not a question on the terminal.
        context.load_cert_chain(*self._files, password="")
        return context

    def _choose(self, connection: ssl.SSLObject, _: str | None, __: ssl.SSLContext) -> None:
        """Called in every handshake, also where the client names no server."""
        connection.context = self._current


def _tls() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    return context
