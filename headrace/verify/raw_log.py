"""Raw log: of the records of a raw partition what is to be compared."""

from collections.abc import Iterator

from headrace.scan import Record
from headrace.verify.page import UNKNOWN, Accepted
from schemas.codec import Undecodable, decode
from schemas.identity import IDENTITY_BYTES
from schemas.raw_message import IDENTITY_HEADER, RawMessage


class RawLog:
    """The records of a raw partition, page by page."""

    def __init__(self, found: Iterator[Record]) -> None:
        self._found = found
        self._ahead: Record | None = None

    def page(self, last: int) -> dict[int, Accepted]:
        """The records from where the page before ended up to this offset."""
        accepted = {}
        record = self._ahead or next(self._found, None)
        while record is not None and record.offset <= last:
            accepted[record.offset] = Accepted(_identity(record), record.timestamp)
            record = next(self._found, None)
        self._ahead = record
        return accepted


def _identity(record: Record) -> bytes:
    """As the edge wrote it beside the message; if it did not, of what the message says."""
    for name, value in record.headers:
        if name == IDENTITY_HEADER and value and len(value) == IDENTITY_BYTES:
            return bytes(value)
    try:
        return decode(RawMessage, record.value or b"").identity()
    except Undecodable:
        return UNKNOWN
