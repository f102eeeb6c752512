"""A ClickHouse client, and its foreign exceptions as ours."""

import contextlib
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import clickhouse_connect
from clickhouse_connect.driver.exceptions import ClickHouseError, OperationalError
from urllib3.exceptions import HTTPError

from sinks.settings import ClickHouseSettings
from sinks.sink import Retryable, Unwritable

RETRYABLE_CODES = frozenset(
    {
        *(
            "3",
            "33",
            "107",
            "159",
            "164",
            "173",
            "202",
            "203",
            "209",
            "210",
            "225",
            "236",
            "241",
            "242",
            "243",
        ),
        *("252", "279", "285", "286", "319", "341", "394", "425", "439", "473", "499", "735", "999", "1000"),
    },
)
"""ClickHouse's error codes that time or an operator can heal: time-outs, network, memory, disk, read-only, too many
parts, too many queries, a server that shuts down, unknown status of an insert, keeper and quorum trouble."""

_CODE = re.compile(r"ClickHouse (?:exception, |error )code:? (\d+)|Code: (\d+)\. DB::")
_GATEWAY = re.compile(r"HTTP status (?:408|429|5\d\d)\b")
"""An answer of something between ClickHouse and us, which has no code of ClickHouse."""


def connect(settings: ClickHouseSettings, *, insert_timeout: int) -> Any:
    """An HTTP client; it opens its connection at once.

    Raises:
        Retryable: nobody answers there yet.
        Unwritable: wrong credentials, or no such database.

    """
    parts = urlsplit(settings.url)
    with translated():
        return clickhouse_connect.get_client(
            interface=parts.scheme,
            host=parts.hostname,
            port=parts.port or (8443 if parts.scheme == "https" else 8123),
            username=settings.username,
            password=settings.password.get_secret_value(),
            database=settings.database,
            send_receive_timeout=insert_timeout,
            query_retries=0,
            compress="lz4",
            autogenerate_session_id=False,
            client_name="headrace",
        )


@contextlib.contextmanager
def translated() -> Iterator[None]:
    """Let nothing of clickhouse-connect or urllib3 out: only `Retryable` and `Unwritable`."""
    try:
        yield
    except ClickHouseError as error:
        found = _CODE.search(str(error))
        code = next(filter(None, found.groups())) if found else ""
        away = isinstance(error, OperationalError) or _GATEWAY.search(str(error))
        if code in RETRYABLE_CODES or (not code and away):
            raise Retryable(str(error), code=code or "connection") from error
        raise Unwritable(str(error)) from error
    except (HTTPError, OSError) as error:
        raise Retryable(f"{type(error).__name__}: {error}", code="connection") from error
