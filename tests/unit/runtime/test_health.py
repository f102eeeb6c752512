import http.client
import socket
from contextlib import closing

import pytest
from prometheus_client import Counter

from runtime import health as healthy
from runtime.health import health
from runtime.settings import HealthSettings
from tests.support.counts import counts

BREWED = Counter("headrace_test_cups_brewed", "A counter of the test's own.")


@pytest.fixture(name="settings")
def _settings():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    return HealthSettings(port=port)


def ask(settings, path):
    """The status and the text of an answer."""
    with closing(http.client.HTTPConnection(settings.host, settings.port, timeout=10)) as connection:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()


def test_a_process_that_is_ready_says_so(settings):
    """Traffic may come as long as the probe finds no trouble."""
    with health(settings, ready=str):
        assert (200, "ok\n") == ask(settings, "/ready")


def test_a_process_that_is_not_ready_says_why(settings):
    """The probe's sentence is the answer's body."""
    with health(settings, ready=lambda: "the registry is empty"):
        assert (503, "the registry is empty\n") == ask(settings, "/ready")


def test_a_process_that_is_not_ready_is_still_alive(settings):
    """Not being ready is no reason to be killed."""
    with health(settings, ready=lambda: "the registry is empty"):
        assert (200, "ok\n") == ask(settings, "/health")


def test_a_process_that_is_broken_asks_to_be_killed(settings):
    """The other probe has its own sentence."""
    with health(settings, ready=str, alive=lambda: "the producer is broken"):
        assert (503, "the producer is broken\n") == ask(settings, "/health")


def test_a_probe_is_asked_each_time(settings):
    """An answer is as old as the request, not as the process."""
    troubles = iter(["starting", ""])

    with health(settings, ready=lambda: next(troubles)):
        assert [503, 200] == [ask(settings, "/ready")[0] for _ in range(2)]


def test_metrics_are_shown(settings):
    """Every metric of the process is at /metrics, in Prometheus' text format."""
    BREWED.inc()

    with health(settings, ready=str):
        status, text = ask(settings, "/metrics")

    assert 200 == status
    assert "headrace_test_cups_brewed_total 1.0" in text


def test_other_paths_are_not_found(settings):
    """A wrong path is told the right ones."""
    with health(settings, ready=str):
        assert (404, "try /health, /ready or /metrics\n") == ask(settings, "/healthz")


def test_the_port_is_free_afterwards(settings):
    """Nothing answers once the block was left."""
    with health(settings, ready=str):
        pass

    with pytest.raises(ConnectionRefusedError):
        ask(settings, "/ready")


def test_a_connection_too_many_is_closed(settings, monkeypatch):
    """Whoever asks beyond the bound gets no thread, and is counted; who asked before is still answered."""
    monkeypatch.setattr(healthy, "MOST", 1)
    refused = counts(healthy.REFUSED)
    with (
        health(settings, ready=str),
        closing(http.client.HTTPConnection(settings.host, settings.port)) as one,
    ):
        one.request("GET", "/ready")
        one.getresponse().read()
        with pytest.raises((ConnectionError, http.client.BadStatusLine)):
            ask(settings, "/ready")
        one.request("GET", "/metrics")

        assert b"headrace_health_connections 1.0" in one.getresponse().read()
    assert refused() == {(): 1}


def test_a_connection_that_says_nothing_is_closed(settings, monkeypatch):
    """Silence costs a thread for a while only."""
    monkeypatch.setattr(healthy, "PATIENCE", 0.05)
    with (
        health(settings, ready=str),
        socket.create_connection((settings.host, settings.port), timeout=10) as one,
    ):
        assert one.recv(1) == b""
