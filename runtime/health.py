"""Probes and metrics of a process: /health, /ready and /metrics, from a thread of its own."""

import contextlib
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, Counter, Gauge, generate_latest

from runtime.settings import HealthSettings

MOST = 16
"""Connections at once, each of which is a thread: as many as probers and scrapers ever are. Beyond it the next is closed."""

PATIENCE = 10.0
"""Seconds that a connection may say nothing, or not take what it asked for."""

CONNECTIONS = Gauge("headrace_health_connections", "Connections that ask for probes and metrics.")
REFUSED = Counter(
    "headrace_health_refused_connections", "Connections for probes and metrics that were closed as too many."
)

Probe = Callable[[], str]
"""Returns "" when all is well, else one sentence that says what is not."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    room = threading.Semaphore(0)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer in a thread of its own, if there may be one more."""
        if self.room.acquire(blocking=False):
            CONNECTIONS.inc()
            super().process_request(request, client_address)
        else:
            REFUSED.inc()
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """The thread, from its beginning to its end."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            CONNECTIONS.dec()
            self.room.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A prober that hangs up is no news; anything else is printed as http.server does."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


@contextlib.contextmanager
def health(settings: HealthSettings, *, ready: Probe, alive: Probe = str) -> Iterator[None]:
    """Answer probes while the block runs.

    A thread and not the event loop answers, so that a process whose loop hangs can still be told from a dead one.
    `ready`: may traffic come. `alive`: if not, the process should be killed and started anew.
    """

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = PATIENCE

        def do_GET(self) -> None:  # the name is http.server's
            path = self.path.partition("?")[0]
            if path == "/metrics":
                self._answer(200, generate_latest(REGISTRY), CONTENT_TYPE_LATEST)
            elif probe := {"/health": alive, "/ready": ready}.get(path):
                trouble = probe()
                self._answer(503 if trouble else 200, f"{trouble or 'ok'}\n".encode(), "text/plain")
            else:
                self._answer(404, b"try /health, /ready or /metrics\n", "text/plain")

        def _answer(self, status: int, body: bytes, content_type: str) -> None:
            self.send_response(status)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Probes come every few seconds; a line for each would bury the rest."""

    server = _Server((settings.host, settings.port), Handler)
    server.room = threading.Semaphore(MOST)
    thread = threading.Thread(target=server.serve_forever, name="health", daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
