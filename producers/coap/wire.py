"""CoAP messages from bytes: strict (RFC 7252, section 3), and typed.

aiocoap's own `Message.decode` is not used for what comes from the network. It keeps an enumeration member for every
option number and content format that it ever saw, some 300 bytes each for as long as the process lives; it takes token
lengths of 9 to 15; and a path that is not UTF-8 escapes it as UnicodeDecodeError. Answers are encoded by aiocoap.
Upstream changes that would remove this module and `options.py`: `ExtensibleIntEnum._missing_` without
`_value2member_map_`, and `Message.decode` raising only `UnparsableMessage`.
"""

import msgspec

from producers.coap.options import Malformed, Options, read

VERSION = 1
HEADER = 4
LONGEST_TOKEN = 8

_REQUEST = 0
_CLASSES = frozenset({_REQUEST, 2, 4, 5})


class Type:
    """How a message wants to be acknowledged (RFC 7252, section 4). Plain numbers: each datagram is asked several times."""

    CON = 0
    NON = 1
    ACK = 2
    RST = 3


class Datagram(msgspec.Struct, frozen=True, gc=False):
    """One message as it arrived."""

    type: int
    code: int
    message_id: int
    token: bytes
    options: Options
    payload: bytes

    @property
    def is_request(self) -> bool:
        """Whether the code is a method."""
        return self.code >> 5 == _REQUEST and self.code != 0

    def cache_key(self) -> bytes:
        """Equal for all the blocks of one body."""
        return bytes((self.code,)) + self.options.body


def decode(data: bytes) -> Datagram:
    """Read one message, of at least four bytes and of version 1.

    Raises:
        Malformed: a message format error (RFC 7252, section 3).

    """
    token_end = HEADER + (data[0] & 0x0F)
    code = data[1]
    if token_end > HEADER + LONGEST_TOKEN or token_end > len(data):
        raise Malformed("token length")
    if code >> 5 not in _CLASSES:
        raise Malformed("reserved class of code")
    if code == 0 and len(data) > HEADER:
        raise Malformed("an empty message with more than a header")
    options, payload = read(data, token_end)
    return Datagram(data[0] >> 4 & 3, code, data[2] << 8 | data[3], data[HEADER:token_end], options, payload)
