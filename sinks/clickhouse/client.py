"""A ClickHouse client."""

from typing import Any
from urllib.parse import urlsplit

import clickhouse_connect

from sinks.clickhouse.errors import translated
from sinks.settings import ClickHouseSettings


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
            # The server, too, gives up: after this nothing of ours runs there whose answer nobody waits for.
            settings={"max_execution_time": insert_timeout},
            query_retries=0,
            compress="lz4",
            autogenerate_session_id=False,
            client_name="headrace",
        )
