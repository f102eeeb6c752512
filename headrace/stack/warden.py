"""Outlives a supervisor that was killed, just long enough to end the processes that it had started.

A program of its own, with nothing but the standard library: the supervisor starts it and tells it, line by line over
its standard input, which process groups live (`+123`) and which are gone (`-123`). The end of that input means that the
supervisor is gone, however it went; what still lives then is asked to stop, and after a grace made to. The kernel's own
means (PR_SET_PDEATHSIG) is Linux only, ends no grandchildren, and gives no grace.
"""

import os
import signal
import sys
import time
from collections.abc import Iterable

GRACE = 10.0
"""Seconds between asking and making."""


def followed(lines: Iterable[str]) -> set[int]:
    """The groups that live when the input ends."""
    groups: set[int] = set()
    for line in lines:
        group = int(line[1:])
        if line[0] == "+":
            groups.add(group)
        else:
            groups.discard(group)
    return groups


def end(groups: Iterable[int], *, grace: float = GRACE) -> None:
    """End the groups. Who ignores SIGTERM has been sent SIGKILL when this returns."""
    left = [group for group in groups if _send(group, signal.SIGTERM)]
    deadline = time.monotonic() + grace
    while left and time.monotonic() < deadline:
        time.sleep(0.02)
        left = [group for group in left if _send(group, 0)]
    for group in left:
        _send(group, signal.SIGKILL)


def _send(group: int, signum: int) -> bool:
    """True if there was somebody to send it to."""
    try:
        os.killpg(group, signum)
    except ProcessLookupError:
        return False
    return True


def main() -> None:
    """Follow standard input to its end, then do what there is to do."""
    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(signum, signal.SIG_IGN)
    end(followed(sys.stdin))


if __name__ == "__main__":
    main()
