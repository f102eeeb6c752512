"""How the sink process ends."""

from typing import Any

import pytest
from structlog.testing import capture_logs

from sinks import app
from sinks.sink import Unwritable
from sinks.stranded import Stranded


@pytest.mark.parametrize("error", [Stranded("offset 7 is not on the log"), Unwritable("no window")])
def test_a_reason_to_stop_is_one_line(monkeypatch: pytest.MonkeyPatch, error: Exception):
    """Where it must not go on it exits with 1, after one line that says why, without a trace."""

    def fails(*_: Any) -> None:
        raise error

    monkeypatch.setattr(app, "run", fails)
    monkeypatch.setattr(app.logging, "configure", lambda _: None)
    monkeypatch.setattr(app.signal, "signal", lambda *_: None)
    monkeypatch.setenv("HEADRACE_HEALTH__PORT", "0")

    with capture_logs() as lines, pytest.raises(SystemExit) as found:
        app.main()

    line = {"event": "stopped for good", "log_level": "error", "reason": str(error)}
    assert (found.value.code, lines) == (1, [line])


def test_the_poll_interval_is_longer_than_five_requests():
    """However long a request may take, five of them fit between two polls."""
    longest = max(
        bound.le for bound in app.SinkSettings.model_fields["insert_timeout"].metadata if hasattr(bound, "le")
    )

    assert 5 * longest < app.POLL_INTERVAL_SECONDS
