"""Log lines as structured events on standard error, those of libraries included."""

import logging
import sys
import time
from collections.abc import Iterable

import structlog

from runtime.settings import LIBRDKAFKA, LogSettings

_SHARED: list[structlog.typing.Processor] = [
    structlog.contextvars.merge_contextvars,
    structlog.processors.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
]


class _Seldom(logging.Filter):
    """Lets one line a facility through every ten seconds: a Kafka that is away is reported twenty times a second.

    A line of librdkafka begins with its facility, such as FAIL. CONFWARN is left out: it warns of the guarantee against gaps
    that we ask for, and a wrong setting is an exception anyway.
    """

    def __init__(self) -> None:
        super().__init__()
        self._next: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the line is to be seen."""
        facility = record.getMessage().split(maxsplit=1)[0]
        now = time.monotonic()
        if facility == "CONFWARN" or now < self._next.get(facility, 0.0):
            return False
        self._next[facility] = now + 10
        return True


def configure(settings: LogSettings, *, quiet: Iterable[str] = ()) -> None:
    """Send every event, ours and the libraries', through one renderer; of the `quiet` libraries only warnings."""
    renderer: structlog.typing.Processor = structlog.processors.JSONRenderer()
    if settings.format == "console":
        renderer = structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    structlog.configure(
        processors=[*_SHARED, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(settings.level),
        logger_factory=structlog.stdlib.LoggerFactory(),
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*_SHARED, structlog.stdlib.add_logger_name],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                renderer,
            ],
        ),
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(settings.level.upper())
    logging.getLogger(LIBRDKAFKA).filters = [_Seldom()]
    for name in quiet:
        logging.getLogger(name).setLevel(logging.WARNING)
