"""Content codings of HTTP bodies, as ClickHouse and its clients use them: lz4, zstd, gzip, deflate."""

import sys
import zlib
from collections.abc import Callable, Mapping
from typing import Protocol

import lz4.frame

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd


class UnknownCodingError(ValueError):
    """A coding that is not offered here."""


class CorruptBodyError(ValueError):
    """A body that is not what its Content-Encoding says."""


class _Decompressor(Protocol):
    """One frame's decompressor, as lz4, zstd and zlib make them."""

    @property
    def eof(self) -> bool: ...

    @property
    def unused_data(self) -> bytes | None: ...

    def decompress(self, data: bytes, /) -> bytes: ...


_DECOMPRESSORS: Mapping[str, Callable[[], _Decompressor]] = {
    "lz4": lz4.frame.LZ4FrameDecompressor,
    "zstd": lambda: zstd.ZstdDecompressor(),  # noqa: PLW0108 - its type has optional parameters
    "gzip": lambda: zlib.decompressobj(zlib.MAX_WBITS | 16),
    "deflate": lambda: zlib.decompressobj(),  # noqa: PLW0108 - made anew each time
}
_COMPRESS: Mapping[str, Callable[[bytes], bytes]] = {
    "lz4": lz4.frame.compress,
    "zstd": lambda body: zstd.compress(body, level=1),
    "gzip": lambda body: zlib.compress(body, level=1, wbits=zlib.MAX_WBITS | 16),
    "deflate": lambda body: zlib.compress(body, level=1),
}


class Decoder:
    """Decompresses a body piece by piece. A body may be several frames, one after the other."""

    def __init__(self, coding: str) -> None:
        """Decode the coding of a Content-Encoding header; none, or `identity`, passes bytes through."""
        self._new = None if coding in {"", "identity"} else _DECOMPRESSORS.get(coding)
        if self._new is None and coding not in {"", "identity"}:
            raise UnknownCodingError(f"Content-Encoding {coding!r} is not one of {', '.join(_DECOMPRESSORS)}")
        self._coding = coding
        self._frame = self._new() if self._new else None

    def feed(self, piece: bytes) -> bytes:
        """The plain bytes that this piece of the body completes.

        Raises:
            CorruptBodyError: the bytes are not of this coding.

        """
        if self._new is None or self._frame is None:
            return piece
        plain = []
        rest: bytes | None = piece
        try:
            while rest:
                if self._frame.eof:
                    self._frame = self._new()
                plain.append(self._frame.decompress(rest))
                rest = self._frame.unused_data if self._frame.eof else None
        except (RuntimeError, zstd.ZstdError, zlib.error) as error:
            raise CorruptBodyError(f"the body is not {self._coding}: {error}") from error
        return b"".join(plain)

    def close(self) -> None:
        """Say that the body is at its end.

        Raises:
            CorruptBodyError: it ended in the middle of a frame.

        """
        if self._frame is not None and not self._frame.eof:
            raise CorruptBodyError(f"the body ends in the middle of its {self._coding} frame")


def encode(body: bytes, accepted: str) -> tuple[bytes, str]:
    """The body in the first of our codings that an Accept-Encoding header names, and that coding's name."""
    offered = {part.partition(";")[0].strip().lower() for part in accepted.split(",")}
    for coding, compress in _COMPRESS.items():
        if coding in offered:
            return compress(body), coding
    return body, ""
