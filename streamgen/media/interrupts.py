"""`unbroken`: no signal breaks off what a library in C has called back."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

ENDINGS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Signals whose handlers raise, to leave by every `with` on the way."""


@contextmanager
def unbroken(end: Callable[[], None] | None = None) -> Iterator[None]:
    """Raise at the end of the block the `KeyboardInterrupt` that a signal's handler raises in it.

    PyAV loses one that is raised in a callback, even before the callback's first line. Handlers
    run at once, as ever; when one raises, `end` is called, to make a block end soon that may wait.
    Python runs handlers on the main thread: on any other one this does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    former: dict[int, Callable[[int, FrameType | None], Any]] = {}
    raised: list[KeyboardInterrupt] = []
    within = True

    def heard(number: int, frame: FrameType | None) -> None:
        try:
            former[number](number, frame)
        except KeyboardInterrupt as error:
            if not within:
                raise
            raised.append(error)
            if end is not None and len(raised) == 1:
                end()

    try:
        for number in ENDINGS:
            handler = signal.getsignal(number)
            if callable(handler):
                former[number] = handler
                signal.signal(number, heard)
        yield
    finally:
        within = False  # first: an interrupt while we put the handlers back leaves them working
        for changed, handler in former.items():
            signal.signal(changed, handler)
        if raised:
            raise raised[0]
