"""Bodies put together from blocks (RFC 7959, Block1), bounded in every direction.

aiocoap's `Block1Spool` (0.4.17) is not used: it has no bound on the size of a body, on their number or on their sum, and
a gap between blocks escapes it as ValueError, which clients see as 5.00. Limits there would remove this module.
"""

import dataclasses
from collections import OrderedDict
from collections.abc import Callable, Hashable

from aiocoap import Code

from producers.coap.options import Block
from producers.coap.refusal import Refused
from producers.coap.wire import Datagram
from producers.metrics import GivenUp, Outcome, count_given_up

PER_REMOTE = 2
TOTAL_BYTES = 64 << 20
LIFETIME = 93.0
"""MAX_TRANSMIT_WAIT: when the next block has not come by then, it never will."""

_BODY, _BLOCK = 1000, 100
"""Bytes that a body and a block cost beside their payload, measured and rounded up."""
_RESERVED_EXPONENT = 7

_Key = tuple[Hashable, bytes]


@dataclasses.dataclass(slots=True)
class _Body:
    touched: float
    blocks: list[bytes] = dataclasses.field(default_factory=list)
    length: int = 0
    cost: int = 0


class Bodies:
    """Bodies under way. The caller has checked before who sends them.

    Args:
        max_body: bytes of the largest body.
        clock: seconds that only grow.
        total: bytes of all bodies under way, what it takes to remember them included; beyond it the one goes first that
            waited longest for its next block.

    """

    def __init__(self, max_body: int, clock: Callable[[], float], *, total: int = TOTAL_BYTES) -> None:
        self._max_body = max_body
        self._clock = clock
        self._total = total
        self._size = 0
        self._bodies: OrderedDict[_Key, _Body] = OrderedDict()
        self._of_remote: dict[Hashable, list[_Key]] = {}

    def __len__(self) -> int:
        return len(self._bodies)

    @property
    def size(self) -> int:
        """Bytes of all of them, as `total` counts them."""
        return self._size

    def feed(self, remote: Hashable, request: Datagram) -> bytes | None:
        """The whole body, or None when more blocks are to come.

        Raises:
            Refused: 4.13 with the limit, 4.08 for a block that does not continue what came before, 4.00.

        """
        block = request.options.block1
        if block is None:
            if len(request.payload) > self._max_body:
                raise self._too_large()
            return request.payload
        self._expire()
        key = (remote, request.cache_key())
        try:
            self._check(block, request)
            body = self._append(key, block, request.payload)
        except Refused:
            self._drop(key)
            raise
        if block.more:
            return None
        self._drop(key)
        return b"".join(body.blocks)

    def _check(self, block: Block, request: Datagram) -> None:
        length = len(request.payload)
        if (
            block.exponent == _RESERVED_EXPONENT
            or length > block.size
            or (block.more and length < block.size)
        ):
            raise Refused(Code.BAD_REQUEST, Outcome.MALFORMED)
        if max(request.options.size1, block.start + length) > self._max_body:
            raise self._too_large()

    def _too_large(self) -> Refused:
        return Refused(Code.REQUEST_ENTITY_TOO_LARGE, Outcome.TOO_LARGE, size1=self._max_body)

    def _append(self, key: _Key, block: Block, payload: bytes) -> _Body:
        if block.number == 0:
            self._begin(key)
        body = self._bodies.get(key)
        if body is None or body.length != block.start:
            raise Refused(Code.REQUEST_ENTITY_INCOMPLETE, Outcome.MALFORMED)
        body.blocks.append(payload)
        body.length += len(payload)
        body.cost += len(payload) + _BLOCK
        body.touched = self._clock()
        self._size += len(payload) + _BLOCK
        self._bodies.move_to_end(key)
        return body

    def _begin(self, key: _Key) -> None:
        self._drop(key)
        mine = self._of_remote.setdefault(key[0], [])
        mine.append(key)
        self._bodies[key] = _Body(touched=self._clock(), cost=_BODY)
        self._size += _BODY
        while len(mine) > PER_REMOTE:
            self._drop(mine[0])
            count_given_up(GivenUp.DISPLACED)

    def _expire(self) -> None:
        limit = self._clock() - LIFETIME
        while self._bodies:
            oldest, body = next(iter(self._bodies.items()))
            late = body.touched < limit
            if not late and self._size <= self._total:
                return
            self._drop(oldest)
            count_given_up(GivenUp.LATE if late else GivenUp.DISPLACED)

    def _drop(self, key: _Key) -> None:
        body = self._bodies.pop(key, None)
        if body is None:
            return
        self._size -= body.cost
        mine = self._of_remote[key[0]]
        mine.remove(key)
        if not mine:
            del self._of_remote[key[0]]
