"""Pre-shared keys: a file of identities and keys, and OpenSSL's question for one of them."""

import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import structlog
from OpenSSL import SSL

from producers.metrics import Credential, count_renewal
from producers.renewal import Version, version

SHORTEST = 16
"""Bytes of a key: what a recorded handshake leaves to be guessed."""

_LINE = re.compile(r"(?P<identity>[^:]{1,128}):(?P<key>(?:[0-9a-fA-F]{2})+)")

log = structlog.get_logger()


class PreSharedKeys:
    """The keys in the file, as it is now: a changed file is read again at the next handshake.

    A change that cannot be used is logged, and leaves the keys as they were. Taking a key out of the file does not end
    sessions that were made with it; disabling the device in the registry refuses its requests at once.

    Raises:
        ValueError: the file cannot be used.

    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._version: Version | None = None
        self._keys: Mapping[str, bytes] = {}

    def of(self, identity: str) -> bytes | None:
        """The key of an identity."""
        try:
            if self.refresh():
                count_renewal(Credential.PRE_SHARED_KEYS, used=True)
        except ValueError as error:
            log.warning("not renewed", credential=Credential.PRE_SHARED_KEYS.value, error=str(error))
            count_renewal(Credential.PRE_SHARED_KEYS, used=False)
        return self._keys.get(identity)

    def refresh(self) -> bool:
        """Read the file, if it is not the one that was read last; whether it was read.

        Raises:
            ValueError: it cannot be used; said once for each change.

        """
        found = version(self._path)
        if found == self._version:
            return False
        self._version = found
        self._keys = _read(self._path)
        return True


def _read(path: Path) -> Mapping[str, bytes]:
    try:
        mode, lines = path.stat().st_mode, path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"cannot read {str(path)!r}: {type(error).__name__}") from error
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise ValueError(f"others than its owner have access to {str(path)!r}: chmod 600")
    keys: dict[str, bytes] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.startswith("#"):
            continue
        found = _LINE.fullmatch(line.strip())
        key = bytes.fromhex(found["key"]) if found else b""
        if found is None or len(key) < SHORTEST:
            # The line itself is not shown: it may be a key.
            raise ValueError(
                f"line {number} of {str(path)!r} is not IDENTITY:HEX with {SHORTEST} bytes or more"
            )
        keys[found["identity"]] = key
    return keys


def serve(context: SSL.Context, keys: PreSharedKeys) -> None:
    """Let the context ask for keys. The identity that a handshake proved is the connection's application data.

    Raises:
        ValueError: this OpenSSL has no pre-shared keys.

    """
    # pyOpenSSL has no public way to serve them (26.4). Its own callbacks work like this one, on the same three things.
    lib: Any = SSL._lib  # type: ignore[attr-defined]  # noqa: SLF001 - see the comment above
    ffi: Any = SSL._ffi  # type: ignore[attr-defined]  # noqa: SLF001 - see the comment above
    connections: Any = SSL.Connection._reverse_mapping  # noqa: SLF001 - see the comment above
    if not lib.Cryptography_HAS_PSK:
        raise ValueError("this OpenSSL was built without pre-shared keys")

    def answer(ssl: Any, asked: Any, out: Any, room: int) -> int:
        identity = ffi.string(asked).decode(errors="replace")
        key = keys.of(identity)
        # Who is not known fails like who has a wrong key: nobody learns which devices there are.
        secret = key if key is not None and len(key) <= room else os.urandom(SHORTEST)
        ffi.memmove(out, secret, len(secret))
        connections[ssl].set_app_data(identity)
        return len(secret)

    callback = ffi.callback("unsigned int(SSL *, const char *, unsigned char *, unsigned int)", answer)
    lib.SSL_CTX_set_psk_server_callback(context._context, callback)  # noqa: SLF001 - as above
    context.set_app_data(callback)  # it has to live as long as the context does
