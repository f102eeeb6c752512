"""What a process gives back of what it freed."""

import subprocess
import sys

SCRIPT = """
import ctypes, sys
from runtime.memory import give_back_freed
from tests.bench.resident import sample
import os

libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
libc.malloc.argtypes, libc.free.argtypes = [ctypes.c_size_t], [ctypes.c_void_p]
if sys.argv[1] == "yes":
    give_back_freed()

def cycle(size):
    block = libc.malloc(size)
    ctypes.memset(block, 1, size)
    return block

libc.free(cycle(24 << 20))
before = sample(os.getpid()).resident
blocks = [cycle(16 << 20) for _ in range(2)]
for block in blocks:
    libc.free(block)
print(sample(os.getpid()).resident - before)
"""


def _kept(*, giving_back: bool) -> float:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, "yes" if giving_back else "no"],
        capture_output=True,
        check=True,
        text=True,
    )
    return float(done.stdout)


def test_large_blocks_that_were_freed_are_given_back():
    """After answers of Kafka have come and gone, a process holds no more than before; glibc by itself keeps 16 MiB and more."""
    assert _kept(giving_back=True) < 1 < _kept(giving_back=False)


SMALL = """
import ctypes, os
from runtime.memory import give_back_free
from tests.bench.resident import sample

libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
libc.malloc.argtypes, libc.free.argtypes = [ctypes.c_size_t], [ctypes.c_void_p]
blocks = [libc.malloc(1 << 12) for _ in range(10_000)]
for block in blocks:
    ctypes.memset(block, 1, 1 << 12)
held = sample(os.getpid()).resident
# The last one stays: malloc by itself gives back no more than what is at the end.
for block in blocks[:-1]:
    libc.free(block)
give_back_free()
print(held - sample(os.getpid()).resident)
"""


def test_small_blocks_that_are_free_are_given_back():
    """After something large was loaded, what was only needed for that is the machine's again."""
    done = subprocess.run([sys.executable, "-c", SMALL], capture_output=True, check=True, text=True)
    assert float(done.stdout) > 30
