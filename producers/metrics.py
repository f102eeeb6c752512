"""Every metric that an edge exposes."""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator
from enum import StrEnum
from itertools import accumulate

from prometheus_client import REGISTRY, Counter, Gauge
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

_BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Seconds."""


class Outcome(StrEnum):
    """What a client was told about a message: exactly one of these."""

    ACCEPTED = "accepted"
    UNAUTHORISED = "unauthorised"
    """No credential, one that nobody has, or one without the role for it."""
    UNKNOWN = "unknown"
    """The twin, component or path does not exist."""
    MALFORMED = "malformed"
    """Not JSON, not the dialect's shape, a wrong media type, a missing header."""
    TOO_LARGE = "too_large"
    FAILED = "failed"
    """Our own fault; the log has the traceback."""
    LIMITED = "limited"
    """Over the device's or the tenant's rate limit: the same message may succeed later."""
    UNAVAILABLE = "unavailable"
    """Kafka did not acknowledge in time, or too much is under way: the same message may succeed later."""

    # Of a member it is a function of Python's, and counting by members calls it each time.
    __hash__ = str.__hash__


class Credential(StrEnum):
    """What is read anew while an edge runs."""

    CERTIFICATE = "certificate"
    """The server's chain and key, and the authorities of devices."""
    PRE_SHARED_KEYS = "pre_shared_keys"
    KEY_SET = "key_set"
    """The public keys of whoever issues bearer tokens."""


class Dropped(StrEnum):
    """Why a CoAP datagram became no request."""

    MALFORMED = "malformed"
    """No message of CoAP, or no record of DTLS."""
    DUPLICATE = "duplicate"
    """A message that came again: answered from memory."""
    NO_SESSION = "no_session"
    """A DTLS record of a session that is over, or never was."""


class Ending(StrEnum):
    """Why a TLS or DTLS handshake, or a DTLS session, is over without what it was for: exactly one of these."""

    CLOSED = "closed"
    """The device said goodbye, or is gone."""
    BROKEN = "broken"
    """OpenSSL or the certificate would not go on."""
    SILENT = "silent"
    """Nothing more came; of a handshake: it took too long, as one with a wrong pre-shared key does."""
    STRANGER = "stranger"
    """Nothing was said in time that a device may say."""
    REPLACED = "replaced"
    """The same address began anew."""
    DISPLACED = "displaced"
    """Others took the room."""
    STOPPED = "stopped"
    """The edge stops."""


class GivenUp(StrEnum):
    """Why a body was given up that was put together from blocks."""

    DISPLACED = "displaced"
    """Others took the room."""
    LATE = "late"
    """Its next block did not come."""


CONNECTIONS = Gauge("headrace_edge_connections", "HTTP connections that are open.")
EVICTED = Counter(
    "headrace_edge_connections_evicted", "HTTP connections that were closed to make room for another."
)
HANDSHAKES = Gauge("headrace_edge_handshakes", "TLS handshakes of HTTP connections that are under way.")
HANDSHAKES_FAILED = Counter(
    "headrace_edge_handshakes_failed",
    "TLS handshakes of HTTP connections that did not come to their end, by why.",
    ["reason"],
)
REMEMBERED_TOKENS = Gauge(
    "headrace_edge_remembered_tokens", "Verified bearer tokens that need not be verified again."
)
RATE_BUCKETS = Gauge(
    "headrace_edge_rate_buckets", "Rate limits that are counted now, of devices and tenants."
)
BUCKETS_DISPLACED = Counter(
    "headrace_edge_rate_buckets_displaced", "Rate limits that start full again, because others took the room."
)
DROPPED = Counter(
    "headrace_edge_datagrams_dropped", "CoAP datagrams that became no request, by why.", ["reason"]
)
DTLS_ENDED = Counter(
    "headrace_edge_dtls_ended",
    "DTLS associations that are over, by how far they came (handshake or session) and by why.",
    ["stage", "reason"],
)
BODIES_GIVEN_UP = Counter(
    "headrace_edge_bodies_given_up",
    "CoAP bodies in blocks that were given up before their last, by why.",
    ["reason"],
)
BODY_BYTES = Gauge(
    "headrace_edge_body_bytes",
    "Bytes of CoAP bodies whose last block is to come, what it takes to remember them included.",
)
LARGE_BODY_BYTES = Gauge(
    "headrace_edge_large_body_bytes", "Bytes of HTTP bodies beyond 64 KiB that are under way."
)
WAITING_REQUESTS = Gauge("headrace_edge_waiting_requests", "CoAP requests that wait for Kafka.")
UNACKNOWLEDGED_ANSWERS = Gauge(
    "headrace_edge_unacknowledged_answers", "CoAP answers that are sent again until they are acknowledged."
)
REMEMBERED_MESSAGES = Gauge(
    "headrace_edge_remembered_messages", "CoAP messages whose repeats would be answered from memory."
)
DTLS_SESSIONS = Gauge("headrace_edge_dtls_sessions", "DTLS sessions of devices.")
DTLS_STRANGERS = Gauge(
    "headrace_edge_dtls_strangers", "DTLS handshakes, and sessions in which no device has spoken yet."
)
UDP_QUEUED_BYTES = Gauge(
    "headrace_edge_udp_queued_bytes",
    "What the kernel holds of datagrams that nobody has read yet, by transport (coap or coaps).",
    ["transport"],
)
UDP_ANSWERS_DROPPED = Counter(
    "headrace_edge_udp_answers_dropped",
    "Datagrams that were not sent, because too many wait for the network.",
)
UDP_LOST = Gauge(
    "headrace_edge_udp_lost_datagrams",
    "Datagrams that the kernel dropped for lack of room since the socket was opened, by transport.",
    ["transport"],
)
RENEWALS = Counter(
    "headrace_edge_renewals",
    "Credentials that were read anew, by whether they could be used; if not, those before stay in force.",
    ["credential", "outcome"],
)


class _Requests(Collector):
    """What requests came to: counted in plain numbers, and made metrics of when somebody asks.

    A counter of prometheus_client takes a lock, and a histogram one for each number: 2 us for a request of 30. Here it is the
    event loop alone that counts.
    """

    def __init__(self) -> None:
        self.messages: dict[tuple[str, Outcome], int] = defaultdict(int)
        self.within: dict[str, list[int]] = defaultdict(lambda: [0] * (len(_BOUNDS) + 1))
        """Requests by the first of the bounds that they kept; those that kept none are the last."""
        self.seconds: dict[str, float] = defaultdict(float)

    def collect(self) -> Iterator[Metric]:
        """The two metrics, as of now."""
        messages = CounterMetricFamily(
            "headrace_edge_messages",
            "Messages by what the client was told; a refused request counts as one.",
            labels=["dialect", "outcome"],
        )
        for (dialect, outcome), number in list(self.messages.items()):
            messages.add_metric([dialect, outcome.value], number)
        yield messages
        seconds = HistogramMetricFamily(
            "headrace_edge_request_seconds", "From the whole request to its answer.", labels=["dialect"]
        )
        for dialect, numbers in list(self.within.items()):
            buckets = zip([*map(str, _BOUNDS), "+Inf"], accumulate(numbers), strict=True)
            seconds.add_metric([dialect], list(buckets), self.seconds[dialect])
        yield seconds


_REQUESTS = _Requests()
REGISTRY.register(_REQUESTS)


def count(dialect: str, outcome: Outcome, messages: int = 1) -> None:
    """Count the one fate of a request's messages at the door; on the event loop."""
    _REQUESTS.messages[dialect, outcome] += messages


def observe(dialect: str, seconds: float) -> None:
    """Count how long a request took; on the event loop."""
    _REQUESTS.within[dialect][bisect_left(_BOUNDS, seconds)] += 1
    _REQUESTS.seconds[dialect] += seconds


def count_renewal(credential: Credential, *, used: bool) -> None:
    """Count what became of a renewal."""
    RENEWALS.labels(credential.value, "used" if used else "failed").inc()


def count_dropped(reason: Dropped) -> None:
    """Count a datagram that became no request."""
    DROPPED.labels(reason.value).inc()


def count_ended(reason: Ending, *, established: bool) -> None:
    """Count the end of a DTLS association."""
    DTLS_ENDED.labels("session" if established else "handshake", reason.value).inc()


def count_handshake_failed(reason: Ending) -> None:
    """Count a TLS handshake that led to no connection."""
    HANDSHAKES_FAILED.labels(reason.value).inc()


def count_given_up(reason: GivenUp) -> None:
    """Count a body that will not be completed."""
    BODIES_GIVEN_UP.labels(reason.value).inc()
