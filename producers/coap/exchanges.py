"""Exchanges: confirmable messages of ours, repeated until they are acknowledged (RFC 7252, section 4.2)."""

import asyncio
import random
from collections.abc import Hashable

from producers.coap.remote import Remote

ACK_TIMEOUT = 2.0
ACK_RANDOM_FACTOR = 1.5
MAX_RETRANSMIT = 4
LIMIT = 10_000


class Exchanges:
    """What was sent and is not acknowledged yet, bounded."""

    def __init__(self, *, limit: int = LIMIT, ack_timeout: float = ACK_TIMEOUT) -> None:
        self._limit = limit
        self._ack_timeout = ack_timeout
        self._timers: dict[tuple[Hashable, int], asyncio.TimerHandle] = {}

    def __len__(self) -> int:
        return len(self._timers)

    @property
    def full(self) -> bool:
        """Whether another message would have to be sent without waiting for its acknowledgement."""
        return len(self._timers) >= self._limit

    def begin(self, remote: Remote, message_id: int, datagram: bytes) -> None:
        """Send a confirmable message, now and again."""
        self.end(remote.key, message_id)
        timeout = random.uniform(self._ack_timeout, self._ack_timeout * ACK_RANDOM_FACTOR)
        self._transmit(remote, message_id, datagram, timeout, MAX_RETRANSMIT)

    def end(self, remote: Hashable, message_id: int) -> None:
        """It was acknowledged, or reset. Unknown ones are ignored."""
        timer = self._timers.pop((remote, message_id), None)
        if timer is not None:
            timer.cancel()

    def close(self) -> None:
        """Repeat nothing any more."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()

    def _transmit(self, remote: Remote, message_id: int, datagram: bytes, timeout: float, left: int) -> None:
        remote.send(datagram)
        self._timers[remote.key, message_id] = asyncio.get_running_loop().call_later(
            timeout, self._expired, remote, message_id, datagram, timeout * 2, left - 1
        )

    def _expired(self, remote: Remote, message_id: int, datagram: bytes, timeout: float, left: int) -> None:
        del self._timers[remote.key, message_id]
        if left >= 0:
            self._transmit(remote, message_id, datagram, timeout, left)
