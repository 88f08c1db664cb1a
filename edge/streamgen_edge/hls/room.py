"""`Room`: where requests wait for what is not there yet. One for each session."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from streamgen.deliver.live import LivePackager
from streamgen.deliver.rendition import Rendition


class Room:
    """Waiting requests of one session, woken all at once when something is published.

    Lives on the event loop whose thread also writes into the packager. Holds the packager's
    callback, not the packager.
    """

    def __init__(self, packager: LivePackager, most: int) -> None:
        """`most` requests may wait at a time."""
        self.held = 0
        self._most = most
        self._waiting: dict[Rendition | None, list[asyncio.Future[bool]]] = {}
        packager.watch(self._ring)

    @property
    def full(self) -> bool:
        return self.held >= self._most

    async def until(
        self, there: Callable[[], bool], rendition: Rendition | None, seconds: float
    ) -> bool:
        """Wait until `there()`, which can change when `rendition` (None: any) publishes something.

        False when `seconds` have passed, or when too many wait already.
        """
        if there():
            return True
        if self.full:
            return False
        loop = asyncio.get_running_loop()
        deadline_s = loop.time() + seconds
        self.held += 1
        try:
            while not there():
                future: asyncio.Future[bool] = loop.create_future()
                self._waiting.setdefault(rendition, []).append(future)
                timer = loop.call_at(deadline_s, _give_up, future)
                try:
                    if not await future:
                        return there()
                finally:
                    timer.cancel()
            return True
        finally:
            self.held -= 1

    def _ring(self, rendition: Rendition) -> None:
        for key in (rendition, None):
            for future in self._waiting.pop(key, ()):
                if not future.done():
                    future.set_result(True)


def _give_up(future: asyncio.Future[bool]) -> None:
    if not future.done():
        future.set_result(False)
