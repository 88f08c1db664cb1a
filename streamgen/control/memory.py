"""Memory that a process is done with, and the system does not have back yet."""

from __future__ import annotations

import ctypes
import gc
import threading
from collections.abc import Callable

REST_S = 5.0
_trim: Callable[[int], int] | None = getattr(ctypes.CDLL(None), "malloc_trim", None)
"""glibc's; others have nothing of the kind."""


def keep_what_is_loaded() -> None:
    """What is there now stays: collecting garbage looks at what came later, and is short."""
    gc.collect()
    gc.freeze()


class Returning:
    """Gives back what ended streams had, some time after `soon`, on a thread of its own.

    The parts of a session know each other, so that Python finds out late that nobody else knows
    them, and their codecs keep their threads until then. And glibc has an arena for each of many
    threads: what a stream leaves free in them is a hundred kilobytes here and there, which nobody
    takes again.
    """

    def __init__(self, rest_s: float = REST_S) -> None:
        self._rest_s = rest_s
        self._timer: threading.Timer | None = None
        self._again = False

    def soon(self) -> None:
        """Something large has ended, or is about to. What comes before its time is looked at
        twice, as it may not have freed all by then."""
        if self._timer is not None and self._timer.is_alive():
            self._again = True
            return
        self._timer = threading.Timer(self._rest_s, self._return)
        self._timer.daemon = True
        self._timer.name = "memory"
        self._timer.start()

    def _return(self) -> None:
        gc.collect()
        if _trim is not None:
            _trim(0)
        if self._again:
            self._again, self._timer = False, None
            self.soon()
