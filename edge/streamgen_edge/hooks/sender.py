"""`Sender`: one hook: its task tells the service, one event at a time, as often as it takes."""

from __future__ import annotations

import asyncio
import logging
import random
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol

from streamgen_edge.hooks.delivery import Outcome, told
from streamgen_edge.hooks.event import Event
from streamgen_edge.hooks.outbox import KEPT_S, Outbox, Waiting
from streamgen_edge.hooks.settings import HookSettings
from streamgen_edge.outbound.client import Client
from streamgen_edge.outbound.signing import signed
from streamgen_edge.outbound.url import Url

WAITS_S = (1.0, 3.0, 8.0, 20.0, 40.0, 60.0)
"""Between the tries of one event: seven of them."""
SPREAD = 0.25
"""Waits are longer or shorter by up to this share."""
SAY_AGAIN_S = 10.0
log = logging.getLogger("streamgen.edge.hooks")


class Counting(Protocol):
    def count(self, name: str, reason: str = "", number: int = 1) -> None: ...

    def gauge(self, name: str, label: str, value: float) -> None: ...


@dataclass(frozen=True)
class Means:
    """What all senders of a server share."""

    client: Client
    telemetry: Counting
    clock_s: Callable[[], float]
    wall_s: Callable[[], float]
    """The clock on the wall."""
    dice: random.Random
    waits_s: Sequence[float] = WAITS_S


class Sender:
    """On the loop's thread. Nobody waits for it, whatever the service does."""

    def __init__(self, name: str, settings: HookSettings, means: Means) -> None:
        self.name = name
        self.settings = settings
        """May be changed: what is left goes where it says then."""
        self._means = means
        self._outbox = Outbox()
        self._present: Waiting | None = None
        """Is told just now."""
        self._paused_s = float("-inf")
        """The service wants nothing before that."""
        self._leaving = False
        self._woken = asyncio.Event()
        self._counts: Counter[str] = Counter()
        self._error = ""
        """Of the last try."""
        self._said_s = float("-inf")
        self._unsaid = 0

    @property
    def left(self) -> int:
        """Events that the service has not heard."""
        return len(self._outbox) + (self._present is not None)

    def tell(self, event: Event) -> None:
        """Does not wait."""
        dropped = self._outbox.put(event, self._means.clock_s())
        if dropped:
            self._lose("dropped", dropped, "too many events wait")
        self._changed()
        self._woken.set()

    async def run(self) -> None:
        """Until cancelled; after `hurry`, until nothing is left to try."""
        clock_s = self._means.clock_s
        while True:
            now = clock_s()
            old = self._outbox.expire(now)
            if old:
                self._lose("failed", old, f"older than {KEPT_S:g} s")
            waiting = self._outbox.take(now) if self._paused_s <= now else None
            if waiting is not None:
                await self._try(waiting)
            elif self._leaving:
                return
            else:
                await self._rest(now)

    def hurry(self) -> None:
        """The server stops: what waits is tried at once, until a try fails."""
        self._leaving = True
        self._outbox.hurry()
        self._woken.set()

    def facts(self) -> dict[str, Any]:
        """For the API; nothing secret."""
        now = self._means.clock_s()
        due_s = max(self._outbox.due_s(), self._paused_s)
        rests = self._present is None and now < due_s < float("inf")
        state = "sending" if self._present is not None else "waiting" if rests else "idle"
        return {
            "name": self.name,
            "target": Url.of(self.settings.url).shown,
            "events": [kind.value for kind in self.settings.events],
            "state": state,
            "error": self._error or None,
            "next_try_s": round(due_s - now, 1) if rests else None,
            "left": self.left,
            **{what: self._counts[what] for what in ("sent", "retried", "failed", "dropped")},
        }

    async def _rest(self, now_s: float) -> None:
        """Until there may be something to do."""
        due_s = max(self._outbox.due_s(), self._paused_s) if self._outbox else float("inf")
        self._woken.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(None if due_s == float("inf") else due_s - now_s):
                await self._woken.wait()

    async def _try(self, waiting: Waiting) -> None:
        self._present = waiting
        waiting.tries += 1
        settings, event, wall_s = self.settings, waiting.event, self._means.wall_s()
        body = event.body(waiting.tries)
        headers = signed(settings.secret, event.id, int(wall_s), body)
        url = Url.of(settings.url)
        outcome = await told(self._means.client, url, body, headers, wall_s=wall_s)
        self._present = None
        self._error = outcome.reason
        if not outcome.reason:
            self._count("sent")
        elif outcome.final:
            self._lose("failed", 1, outcome.reason)
        else:
            self._later(waiting, outcome)
        self._changed()

    def _later(self, waiting: Waiting, outcome: Outcome) -> None:
        """Again after a while, if that makes sense."""
        means, now = self._means, self._means.clock_s()
        after_s = outcome.after_s or 0.0
        if after_s:
            self._paused_s = now + min(after_s, KEPT_S)
        if waiting.tries > len(means.waits_s):
            self._lose("failed", 1, f"{outcome.reason}, {waiting.tries} times")
            return
        wait_s = means.waits_s[waiting.tries - 1] * means.dice.uniform(1 - SPREAD, 1 + SPREAD)
        due_s = now + max(wait_s, after_s)
        if due_s > waiting.until_s:
            self._lose("failed", 1, outcome.reason)
            return
        self._count("retried")
        dropped = self._outbox.put_back(waiting, due_s)
        if dropped:
            self._lose("dropped", dropped, "too many events wait")
        if self._leaving:
            self._paused_s = float("inf")  # there is no time for more

    def _count(self, what: str, number: int = 1) -> None:
        self._counts[what] += number
        self._means.telemetry.count(f"hook_{what}", self.name, number)

    def _lose(self, what: str, number: int, reason: str) -> None:
        """The log hears of it now and then, with the number."""
        self._count(what, number)
        self._unsaid += number
        now = self._means.clock_s()
        if now - self._said_s >= SAY_AGAIN_S:
            log.warning("hook %s was not told: %s (%d)", self.name, reason, self._unsaid)
            self._said_s, self._unsaid = now, 0

    def _changed(self) -> None:
        self._means.telemetry.gauge("hook_left", self.name, self.left)
