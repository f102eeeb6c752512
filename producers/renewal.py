"""Renewal: files that are put to use anew when they changed on disk, while the process runs."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import structlog

from producers.metrics import Credential, count_renewal

log = structlog.get_logger()

Version = tuple[int, ...]


class Renewal:
    """Looks at files that belong together, and has them used when one of them changed.

    What they are at construction counts as in use: construct before they are read for the first time.

    Args:
        credential: what they are, for the log and the metrics.
        files: a change of any of them is a change of all.
        every: seconds between two looks.

    """

    def __init__(self, credential: Credential, files: Sequence[Path], *, every: float) -> None:
        self._credential = credential
        self._files = files
        self._every = every
        self._seen = self._versions()

    @asynccontextmanager
    async def kept(self, use: Callable[[], None]) -> AsyncIterator[None]:
        """Look every so often while the block runs.

        Args:
            use: puts what the files hold to use, or raises OSError or ValueError and changes nothing.

        """
        keeper = asyncio.create_task(self._keep(use))
        try:
            yield
        finally:
            keeper.cancel()
            await asyncio.wait({keeper})

    def look(self, use: Callable[[], None]) -> bool:
        """Have the files used if they changed; whether that was so.

        What cannot be used is logged and counted, and left for the next look: a renewal writes one file after the other.
        """
        versions = self._versions()
        if versions == self._seen:
            return False
        try:
            use()
        except (OSError, ValueError) as error:
            log.warning("not renewed", credential=self._credential.value, error=str(error))
            count_renewal(self._credential, used=False)
            return False
        self._seen = versions
        log.info("renewed", credential=self._credential.value)
        count_renewal(self._credential, used=True)
        return True

    async def _keep(self, use: Callable[[], None]) -> None:
        while True:
            await asyncio.sleep(self._every)
            self.look(use)

    def _versions(self) -> list[Version]:
        return [version(file) for file in self._files]


def version(file: Path) -> Version:
    """Another one after each change of the file; () where there is none."""
    try:
        found = file.stat()
    except OSError:
        return ()
    return found.st_mtime_ns, found.st_size, found.st_ino, found.st_mode
