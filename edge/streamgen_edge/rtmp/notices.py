"""Log lines that strangers can cause, as many as they like."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass

log = logging.getLogger("streamgen_edge.rtmp")

EVERY_S = 1.0


@dataclass(slots=True, eq=False)
class _Window:
    """A kind's present interval."""

    over: asyncio.TimerHandle
    level: int
    said: int = 0
    held: int = 0


class Notices:
    """Of each kind the first lines of an interval are written, and then how many more there were.

    For one event loop. Kinds are few and named by us.
    """

    def __init__(self, every_s: float = EVERY_S) -> None:
        self._every_s = every_s
        self._open: dict[str, _Window] = {}

    def say(self, kind: str, line: str, *, most: int = 1, level: int = logging.INFO) -> None:
        """Write a line, unless `most` of its kind were written in this interval."""
        window = self._open.get(kind)
        if window is None:
            timer = asyncio.get_running_loop().call_later(self._every_s, self._over, kind)
            window = self._open[kind] = _Window(timer, level)
        if window.said < most:
            window.said += 1
            log.log(level, "%s", line)
        else:
            window.held += 1

    def close(self) -> None:
        """Write what was held back."""
        for kind in list(self._open):
            self._open[kind].over.cancel()
            self._over(kind)

    def _over(self, kind: str) -> None:
        window = self._open.pop(kind)
        if window.held:
            text = "rtmp: %d more within %g s: %s"
            log.log(window.level, text, window.held, self._every_s, kind)
