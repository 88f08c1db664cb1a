"""`Inquiries`: what administrators of edges ask of the cluster, answered by the API of the
coordinator that leads, over the wire by which edges talk to it anyhow."""

from __future__ import annotations

import asyncio
import logging

from streamgen.control.api.calling import called
from streamgen.control.api.door import Asgi
from streamgen.control.coordinator.office import Office
from streamgen.control.coordinator.questions import LONGEST_BODY, ApiAsked, ApiTold

MOST = 16
"""Under way at a time. Beyond, nobody is answered: edges wait for a short time only."""
WITHIN_S = 4.0
"""Edges do not wait for longer; a store that is away may take a minute to say so."""
log = logging.getLogger("streamgen.coordinator")


class Inquiries:
    """Of one coordinator, on its loop. Use with `async with`: the end is not waited for."""

    def __init__(self, office: Office, api: Asgi) -> None:
        """`api` need not ask who asks."""
        self._office, self._api = office, api
        self._under_way: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Inquiries:
        self._office.desk.asked = self._asked
        return self

    async def __aexit__(self, *_: object) -> None:
        self._office.desk.asked = lambda edge, asked: None
        for task in self._under_way:
            task.cancel()
        await asyncio.gather(*self._under_way, return_exceptions=True)

    def _asked(self, edge: str, asked: ApiAsked) -> None:
        if len(self._under_way) < MOST:
            task = asyncio.get_running_loop().create_task(self._answer(edge, asked))
            self._under_way.add(task)
            task.add_done_callback(self._over)

    async def _answer(self, edge: str, asked: ApiAsked) -> None:
        try:
            async with asyncio.timeout(WITHIN_S):
                status, _, body = await called(self._api, asked.method, asked.path)
        except TimeoutError:
            log.warning("%s %s of edge %s was not answered in time", asked.method, asked.path, edge)
            return
        for at in range(0, max(len(body), 1), LONGEST_BODY):
            end = at + LONGEST_BODY
            part = ApiTold(asked.number, status, body[at:end], last=end >= len(body))
            self._office.say("edge", edge, part)

    def _over(self, task: asyncio.Task[None]) -> None:
        self._under_way.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("what an edge asked could not be answered", exc_info=error)
