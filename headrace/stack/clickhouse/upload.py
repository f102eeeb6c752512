"""The body of a request: a query's text in memory, an insert's data in a file."""

from pathlib import Path
from types import TracebackType
from typing import IO, Self
from uuid import uuid4

from headrace.stack.clickhouse.coding import Decoder
from headrace.stack.clickhouse.statement import Insert

HEAD = 64 * 1024
"""Bytes within which the head of an insert has to end for its data to go to a file."""

MAX_TEXT = 64 * 1024 * 1024
"""Most bytes of a statement that is not an insert with a format (ClickHouse's own default is 256 KiB)."""


class TooLargeError(ValueError):
    """A body beyond the size that this server takes."""


class Upload:
    """Takes a body piece by piece, and becomes the statement that it is. Its file is gone at the end of the block."""

    def __init__(self, query: bytes, decoder: Decoder, *, folder: Path, limit: int) -> None:
        """Join a URL's query and the body as ClickHouse does: the query first, the body after it."""
        self._start = bytearray(query + b"\n" if query else b"")
        self._decoder = decoder
        self._path = folder / f"{uuid4().hex}.data"
        self._room = limit
        self._insert: Insert | None = None
        self._decided = False
        self._data: IO[bytes] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._data is not None:
            self._data.close()
            self._path.unlink(missing_ok=True)

    def feed(self, piece: bytes) -> None:
        """Take the next piece of the body, as it came over the wire.

        Raises:
            TooLargeError: this is beyond what the server takes.
            CorruptBodyError: the body is not of its coding.

        """
        plain = self._decoder.feed(piece)
        self._room -= len(plain)
        if self._room < 0:
            raise TooLargeError("the body is larger than this server takes")
        if self._data is not None:
            self._data.write(plain)
            return
        self._start += plain
        if not self._decided and len(self._start) >= HEAD:
            self._decide()
        if len(self._start) > MAX_TEXT:
            raise TooLargeError(f"the statement is longer than {MAX_TEXT:,} bytes")

    def text(self) -> bytes:
        """The whole statement, once the body is at its end; an insert takes its data from our file."""
        self._decoder.close()
        if not self._decided:
            self._decide()
        if self._data is None or self._insert is None:
            return bytes(self._start)
        self._data.flush()
        return self._insert.from_file(self._path)

    def _decide(self) -> None:
        self._decided = True
        self._insert = Insert.parse(bytes(self._start))
        if self._insert is not None:
            self._data = self._path.open("wb")
            self._data.write(self._start[self._insert.data_from :])
            self._start.clear()
