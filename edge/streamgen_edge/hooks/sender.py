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

from streamgen_edge.hooks.delivery import WITHIN_S, Outcome, told
from streamgen_edge.hooks.event import Event
from streamgen_edge.hooks.outbox import KEPT_S, SOON_S, Lose, Outbox, Waiting
from streamgen_edge.hooks.settings import HookSettings
from streamgen_edge.hooks.stored import StoredOutbox
from streamgen_edge.outbound.client import Client
from streamgen_edge.outbound.signing import signed
from streamgen_edge.outbound.url import Url
from streamgen_edge.store import LateStore

WAITS_S = (1.0, 3.0, 8.0, 20.0, 40.0, 60.0)
"""Between the tries of one event: seven of them."""
SPREAD = 0.25
"""Waits are longer or shorter by up to this share."""
SAY_AGAIN_S = 10.0
COUNTED = ("sent", "retried", "failed", "dropped", "unstored")
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
    within_s: float = WITHIN_S
    """For one try."""
    store: LateStore | None = None
    """Where events wait; None: in memory."""

    def outbox(self, name: str, lose: Lose) -> Outbox | StoredOutbox:
        """Of one hook."""
        if self.store is None:
            return Outbox(lose)
        self.telemetry.count("hook_unstored", name, 0)  # so that /metrics has it before it grows
        claim_s = 2 * self.within_s
        return StoredOutbox(name, self.store, lose, self.clock_s, self.wall_s, claim_s)


class Sender:
    """On the loop's thread. Nobody waits for it, whatever the service does."""

    def __init__(self, name: str, settings: HookSettings, means: Means) -> None:
        self.name = name
        self.settings = settings
        """May be changed: what is left goes where it says then."""
        self._means = means
        self._outbox = means.outbox(name, self._lose)
        self._present: Waiting | None = None
        """Is told just now."""
        self._paused_s = float("-inf")
        """The service wants nothing before that."""
        self._leaving = False
        self._counts: Counter[str] = Counter()
        self._error = ""
        """Of the last try."""
        self._said_s = float("-inf")
        self._unsaid = 0

    @property
    def left(self) -> int:
        """Events that the service has not heard; of a store all edges'."""
        return len(self._outbox)

    @property
    def fleeting(self) -> int:
        """Those that end with this process."""
        return self._outbox.fleeting

    def tell(self, event: Event) -> None:
        """Does not wait."""
        self._outbox.put(event, self._means.clock_s())
        self._changed()

    async def run(self) -> None:
        """Until cancelled; after `hurry`, until nothing is left to try."""
        async with self._outbox.kept():
            while True:
                self._outbox.woken.clear()
                now = self._means.clock_s()
                waiting = await self._outbox.take(now) if self._paused_s <= now else None
                if waiting is not None:
                    await self._try(waiting)
                elif self._leaving and self._nothing_soon():
                    return
                else:
                    await self._rest()
                self._changed()

    def hurry(self) -> None:
        """The server stops: what waits is tried at once, until a try fails."""
        self._leaving = True
        self._outbox.hurry()

    def facts(self) -> dict[str, Any]:
        """For the API; nothing secret."""
        now = self._means.clock_s()
        due_s = self._due_s()
        rests = self._present is None and self.left > 0 and now < due_s < float("inf")
        state = "sending" if self._present is not None else "waiting" if rests else "idle"
        return {
            "name": self.name,
            "target": Url.of(self.settings.url).shown,
            "events": [kind.value for kind in self.settings.events],
            "state": state,
            "error": self._error or None,
            "next_try_s": round(due_s - now, 1) if rests else None,
            "left": self.left,
            **{what: self._counts[what] for what in COUNTED},
        }

    def _due_s(self) -> float:
        return max(self._outbox.due_s(), self._paused_s)

    def _nothing_soon(self) -> bool:
        late = self._due_s() > self._means.clock_s() + SOON_S
        return late and not self._outbox.woken.is_set()

    async def _rest(self) -> None:
        """Until there may be something to do."""
        due_s = self._due_s()
        wait_s = None if due_s == float("inf") else due_s - self._means.clock_s()
        with suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                await self._outbox.woken.wait()

    async def _try(self, waiting: Waiting) -> None:
        self._present = waiting
        waiting.tries += 1
        means, settings, event = self._means, self.settings, waiting.event
        wall_s = means.wall_s()
        body = event.body(waiting.tries)
        headers = signed(settings.secret, event.id, int(wall_s), body)
        url = Url.of(settings.url)
        outcome = await told(
            means.client, url, body, headers, wall_s=wall_s, within_s=means.within_s
        )
        self._present = None
        self._error = outcome.reason
        again_s = self._judged(waiting, outcome)
        if again_s is None:
            await self._outbox.settle(waiting)
        else:
            await self._outbox.put_back(waiting, again_s)

    def _judged(self, waiting: Waiting, outcome: Outcome) -> float | None:
        """When it is tried again; None: it is heard, or given up."""
        if not outcome.reason:
            self._count("sent")
            return None
        means, now = self._means, self._means.clock_s()
        after_s = outcome.after_s or 0.0
        if after_s:
            self._paused_s = now + min(after_s, KEPT_S)
        due_s, reason = float("inf"), outcome.reason
        if waiting.tries > len(means.waits_s):
            reason = f"{reason}, {waiting.tries} times"
        elif not outcome.final:
            wait_s = means.waits_s[waiting.tries - 1] * means.dice.uniform(1 - SPREAD, 1 + SPREAD)
            due_s = now + max(wait_s, after_s)
        if due_s > waiting.until_s:
            self._lose("failed", 1, reason)
            return None
        self._count("retried")
        if self._leaving:
            self._paused_s = float("inf")  # there is no time for more
        return due_s

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
