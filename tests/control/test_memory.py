"""Memory that was freed goes back to the system."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading
import weakref

import pytest

from streamgen.control import memory

PROGRAM = """
import ctypes, threading, time
from pathlib import Path
from streamgen.control.memory import Returning

def resident_kb():
    rows = Path("/proc/self/status").read_text().splitlines()
    return next(int(row.split()[1]) for row in rows if row.startswith("RssAnon"))

def scattered():
    libc = ctypes.CDLL(None)
    libc.malloc.restype = ctypes.c_void_p
    libc.malloc.argtypes, libc.free.argtypes = [ctypes.c_size_t], [ctypes.c_void_p]
    some = [libc.malloc(60_000) for _ in range(1000)]
    for at in some:
        ctypes.memset(at, 1, 60_000)
    for at in some[:-1]:  # the last one holds the end of its arena
        libc.free(at)

thread = threading.Thread(target=scattered)
thread.start()
thread.join()
before = resident_kb()
one = Returning(rest_s=0.05)
one.soon()
end = time.monotonic() + 20
while resident_kb() > before - 40_000 and time.monotonic() < end:
    time.sleep(0.05)
print(before - resident_kb() > 40_000)
"""


@pytest.mark.skipif(memory._trim is None, reason="the C library has no malloc_trim")
def test_what_was_freed_in_the_arena_of_a_thread_goes_back() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == "True\n"


def test_what_only_knows_each_other_is_given_up() -> None:
    class Part:
        other: Part

    gc.disable()  # nobody else looks meanwhile
    try:
        one, other = Part(), Part()
        one.other, other.other = other, one
        gone = threading.Event()
        weakref.finalize(one, gone.set)
        del one, other
        memory.Returning(rest_s=0.05).soon()
        assert gone.wait(20)
    finally:
        gc.enable()
