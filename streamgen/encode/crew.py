"""`Crew`: the threads of a library that must be at rest before it is given more.

SVT-AV1 (4.2 and before) in low delay: its picture manager hands a picture on, and only then reads
from it which references it releases. A machine with other work may take its core away in between;
by the time it goes on the picture is coded, and its memory holds the next one. The references of
the first then never become free, and the library waits for them: at once or hours later, for ever.
It cannot happen while the next picture comes only when that thread sleeps.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LOOK_AGAIN_S = 0.0001
TASKS = Path("/proc/self/task")


class Crew:
    """Belongs to one thread. Where the system does not tell of threads, it is empty."""

    def __init__(self) -> None:
        self.threads: tuple[int, ...] = ()
        """As the system numbers them."""

    @contextmanager
    def hired(self) -> Iterator[None]:
        """What the calling thread starts in here, and what that starts, belongs to the crew."""
        if sys.platform != "linux":
            yield
            return
        me = threading.get_native_id()
        ours = f"crew {me}"
        former = _name(me)
        before = _named(ours)
        _call(me, ours)  # a thread is called what the one was called that started it
        try:
            yield
        finally:
            _call(me, former)
            self.threads = tuple(sorted(_named(ours) - before - {me}))

    def rest(self) -> None:
        """Wait until each has been seen asleep. Some 2 microseconds for each thread that is."""
        for thread in self.threads:
            while not _sleeps(thread):
                time.sleep(LOOK_AGAIN_S)


def _name(thread: int) -> str:
    return (TASKS / str(thread) / "comm").read_text().rstrip("\n")


def _call(thread: int, name: str) -> None:
    (TASKS / str(thread) / "comm").write_text(name)


def _named(name: str) -> set[int]:
    found = set()
    for task in TASKS.iterdir():
        try:
            if (task / "comm").read_text().rstrip("\n") == name:
                found.add(int(task.name))
        except OSError:  # it has ended meanwhile
            continue
    return found


def _sleeps(thread: int) -> bool:
    """Waiting for something, stopped, or gone: anything but about to go on."""
    try:
        with open(f"{TASKS}/{thread}/stat", "rb", buffering=0) as stat:
            line = stat.read(128)
    except OSError:
        return True
    return line[line.rindex(b")") + 2 :][:1] not in b"RD"
