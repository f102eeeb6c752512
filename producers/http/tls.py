"""TLS of the HTTP edge: a certificate that is taken anew when it is renewed on disk, under open connections."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import structlog

log = structlog.get_logger()


class ServerCertificate:
    """A chain and its key, in PEM files, and the context that serves them.

    Raises:
        OSError: the files cannot be read, or do not belong together (`ssl.SSLError`).

    """

    def __init__(self, certificate: str, private_key: str, *, every: float) -> None:
        self._files = (Path(certificate), Path(private_key))
        self._every = every
        self._seen = self._state()
        self.context = self._loaded(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
        self.context.minimum_version = ssl.TLSVersion.TLSv1_2
        self.context.set_alpn_protocols(["http/1.1"])

    @asynccontextmanager
    async def kept(self) -> AsyncIterator[None]:
        """Look at the files every so often while the block runs."""
        keeper = asyncio.create_task(self._keep())
        try:
            yield
        finally:
            keeper.cancel()
            await asyncio.wait({keeper})

    def renew(self) -> bool:
        """Serve new connections with what the files hold now, if they changed and fit; whether that is so.

        What does not fit is left for the next look: a renewal writes one file after the other.
        """
        try:
            state = self._state()
            if state == self._seen:
                return False
            self._loaded(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
            self._loaded(self.context)
        except OSError as error:
            log.warning("certificate not renewed", error=str(error))
            return False
        self._seen = state
        log.info("certificate renewed")
        return True

    async def _keep(self) -> None:
        while True:
            await asyncio.sleep(self._every)
            self.renew()

    def _state(self) -> list[tuple[int, int, int]]:
        return [(s.st_mtime_ns, s.st_ino, s.st_size) for s in (file.stat() for file in self._files)]

    def _loaded(self, context: ssl.SSLContext) -> ssl.SSLContext:
        # An encrypted key is an error, not a question on the terminal.
        context.load_cert_chain(*self._files, password="")
        return context
