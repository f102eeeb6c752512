"""What is no HTTP: answered by aiohttp before any dialect is known; here counted, and kept out of the log."""

import logging

from aiohttp.http_exceptions import HttpProcessingError

from producers.metrics import Outcome, count


class _NotHttp(logging.Filter):
    """Takes the tracebacks out that aiohttp writes of such requests: they repeat the request, and so a token in its path."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record is to be seen."""
        if record.exc_info and isinstance(record.exc_info[1], HttpProcessingError):
            count("none", Outcome.MALFORMED)
            return False
        return record.levelno > logging.DEBUG


def logger() -> logging.Logger:
    """The logger for aiohttp's server."""
    found = logging.getLogger("producers.http")
    found.setLevel(logging.DEBUG)  # the level at which aiohttp speaks of the worst, and asks the filter
    found.filters = [_NotHttp()]
    return found
