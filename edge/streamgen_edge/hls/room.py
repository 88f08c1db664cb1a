"""`Room`: where requests wait for what is not there yet, and find it. One for each session."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from functools import partial
from typing import Any

from streamgen.deliver.live import LivePackager
from streamgen.deliver.rendition import Page, Rendition
from streamgen_edge.hls.answers import Sheet

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]


class Room:
    """Waiting requests of one session, woken all at once when something is published.

    Lives on the event loop whose thread also writes into the packager. Keeps no packager alive.
    """

    def __init__(self, packager: LivePackager, most: int) -> None:
        """`most` requests may wait at a time."""
        self.held = 0
        self._sheets: dict[tuple[str, bool, bool], tuple[Page, Sheet]] = {}
        self._most = most
        self._waiting: dict[Rendition | None, dict[asyncio.Future[bool], None]] = {}
        packager.watch(self._ring)

    @property
    def full(self) -> bool:
        return self.held >= self._most

    async def until(
        self,
        there: Callable[[], bool],
        rendition: Rendition | None,
        seconds: float,
        receive: Receive,
    ) -> bool:
        """Wait until `there()`, which can change when `rendition` (None: any) publishes something.

        False when `seconds` have passed, when the client has gone (`receive` says so), or when too
        many wait already.
        """
        if there():
            return True
        if self.full:
            return False
        loop = asyncio.get_running_loop()
        deadline_s = loop.time() + seconds
        self.held += 1
        leaving = loop.create_task(_gone(receive))
        try:
            while not there():
                future: asyncio.Future[bool] = loop.create_future()
                give_up = partial(self._give_up, rendition, future)
                self._waiting.setdefault(rendition, {})[future] = None
                timer = loop.call_at(deadline_s, give_up)
                leaving.add_done_callback(give_up)
                try:
                    if not await future:
                        return there()
                finally:
                    timer.cancel()
                    leaving.remove_done_callback(give_up)
            return True
        finally:
            leaving.cancel()
            self.held -= 1

    def sheet(
        self, packager: LivePackager, rendition: Rendition, *, skip: bool, blocking: bool
    ) -> Sheet:
        """The media playlist of now, the same object until there is news."""
        place = rendition.track.place
        page = packager.page(place, skip=skip)
        known = self._sheets.get((place, skip, blocking))
        if known is not None and known[0] is page:
            return known[1]
        # What a directive asked for is right for a while; what nobody waited for changes soon.
        cache = b"max-age=%d" % (6 * rendition.facts.target_s) if blocking else b"max-age=1"
        tag = page.tag  # of the text alone: players may come from another edge
        sheet = Sheet(page.text, lambda: page.packed, tag=tag, cache=cache)
        self._sheets[place, skip, blocking] = page, sheet
        return sheet

    def _ring(self, rendition: Rendition) -> None:
        for key in (rendition, None):
            for future in self._waiting.pop(key, ()):
                if not future.done():
                    future.set_result(True)

    def _give_up(
        self, rendition: Rendition | None, future: asyncio.Future[bool], _: object = None
    ) -> None:
        self._waiting.get(rendition, {}).pop(future, None)
        if not future.done():
            future.set_result(False)


async def _gone(receive: Receive) -> None:
    """Until the client has left. What it may send before that is for nobody."""
    while (await receive())["type"] != "http.disconnect":
        pass
