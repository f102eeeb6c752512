"""Memory: what a process has freed goes back to the machine, so that its bound is one of resident bytes too."""

import ctypes

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
"""Of glibc's malloc.h."""


def give_back_freed(*, large_bytes: int = 256 << 10, kept_bytes: int = 128 << 10) -> None:
    """Have malloc keep nothing of a large block that was freed; call it once, first of all.

    glibc raises its own limit of what is large to the largest block that was ever freed, 32 MiB at most, and from then on
    each of its arenas keeps up to twice as much. An answer of Kafka is such a block, and librdkafka frees many. Where malloc
    is another one, nothing is changed.

    Args:
        large_bytes: from which size on a block is large. Each is mapped anew, and the kernel clears its every page.
        kept_bytes: how much of what is free at its end an arena may keep.

    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, large_bytes)
        mallopt(_M_TRIM_THRESHOLD, kept_bytes)


def give_back_free() -> None:
    """Have malloc give back what is free now, large or small: once, when something large was loaded."""
    malloc_trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if malloc_trim is not None:
        malloc_trim(0)
