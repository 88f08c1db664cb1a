"""`Questions`: what an edge asks of the leader and waits for, a short time: is there room, and what
its administrators want to know of the cluster."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable

from streamgen.control.coordinator.messages import ToCoordinator
from streamgen.control.coordinator.questions import ApiAsked, ApiTold, RoomAsked, RoomTold, Told
from streamgen.control.placement.scheduler import Work
from streamgen_edge.cluster.seats import expected, wait_s
from streamgen_edge.rtmp.publisher import Refused

ROOM_S = 1.0
"""A coordinator that says nothing for so long is not waited for: the stream comes, and waits."""
API_S = 4.0
MOST = 32
"""Questions at a time."""


class Unanswered(Exception):
    """The text is for who asks."""


class Questions:
    """On the edge's loop. `say`, `leads` and `now_ms` are the peer's, once there is one."""

    def __init__(self) -> None:
        self.say: Callable[[ToCoordinator], None] = lambda event: None
        self.leads: Callable[[], int | None] = lambda: None
        self.now_ms: Callable[[], int] = lambda: 0
        self._number = secrets.randbelow(1 << 31)  # what a former edge asked means nothing here
        self._waiting: dict[int, asyncio.Future[Told]] = {}
        self._parts: dict[int, list[str]] = {}

    async def admit(self, work: Work, *, runs: bool = False) -> None:
        """Raises `Refused` where there is no room for a new stream, or for what one that `runs` is
        to become. Where nobody can say so in time, it is taken for granted."""
        try:
            told = await self._answer(lambda number: RoomAsked(number, work, runs), ROOM_S)
        except Unanswered:
            return
        assert isinstance(told, RoomTold)
        if told.reason:
            now_ms, at_ms = self.now_ms(), told.earliest_ms
            reason = f"no room for the stream: {told.reason}{expected(at_ms, now_ms)}"
            after_s = None if at_ms is None else wait_s(at_ms, now_ms)
            raise Refused(reason, later=True, wait_s=after_s)

    async def api(self, method: str, path: str) -> tuple[int, str]:
        """Status and body of the leader's answer; `path` may have a query. Raises `Unanswered`."""
        told = await self._answer(lambda number: ApiAsked(number, method, path), API_S)
        assert isinstance(told, ApiTold)
        return told.status, told.body

    async def _answer(self, asked: Callable[[int], RoomAsked | ApiAsked], within_s: float) -> Told:
        if self.leads() is None:
            raise Unanswered("no coordinator leads")
        if len(self._waiting) >= MOST:
            raise Unanswered("other questions wait for the coordinator's answers")
        self._number += 1
        number = self._number
        answer = self._waiting[number] = asyncio.get_running_loop().create_future()
        self.say(asked(number))
        try:
            return await asyncio.wait_for(answer, within_s)
        except TimeoutError as error:
            raise Unanswered("the coordinator that leads does not answer") from error
        finally:
            del self._waiting[number]
            self._parts.pop(number, None)

    def heard(self, told: Told) -> None:
        """An answer, or a part of one; nobody may wait for it any more."""
        waiting = self._waiting.get(told.number)
        if waiting is None or waiting.done():
            return
        if isinstance(told, ApiTold):
            parts = self._parts.setdefault(told.number, [])
            parts.append(told.body)
            if not told.last:
                return
            told = ApiTold(told.number, told.status, "".join(parts), last=True)
        waiting.set_result(told)
