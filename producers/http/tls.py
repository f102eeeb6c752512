"""TLS of the HTTP edge: a chain and its key, and the context that serves them."""

import ssl
from pathlib import Path


class ServerCertificate:
    """A chain and its key, in PEM files.

    Raises:
        OSError: the files cannot be read, or do not belong together (`ssl.SSLError`).

    """

    def __init__(self, certificate: Path, private_key: Path) -> None:
        self._files = certificate, private_key
        self.context = self._loaded(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
        self.context.minimum_version = ssl.TLSVersion.TLSv1_2
        self.context.set_alpn_protocols(["http/1.1"])

    def load(self) -> None:
        """Serve new connections with what the files hold now; those that are open keep what they began with.

        Raises:
            OSError: as at construction; what was served before stays.

        """
        self._loaded(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
        self._loaded(self.context)

    def _loaded(self, context: ssl.SSLContext) -> ssl.SSLContext:
        # An encrypted key is an error, not a question on the terminal.
        context.load_cert_chain(*self._files, password="")
        return context
