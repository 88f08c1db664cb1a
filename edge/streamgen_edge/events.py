"""`Events`: how all streams do, told to whoever listens (text/event-stream, of the HTML standard).

    event: streams
    data: {"unix_ms": 1767225600000, "missed": 0, "streams": [...], "watched": {...} or null}

Each tells all there is to know, so whoever misses some has lost nothing by the next. One comes when
a state changes, and a second after the last. A listener takes one at a time: while it is slow the
present one is left out and counted in `missed`; nothing piles up for it. Without listeners nothing
is done.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Hashable, Iterable
from typing import Any, Protocol

from fastapi import HTTPException
from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

BEAT_S = 0.1
"""So often it is looked whether a state has changed."""
EVERY = 10
"""Beats between two events, where no state changes."""
ASKED_AGAIN = 100
"""Beats after which a listener is asked again whether it may listen."""
MOST = 64
"""Listeners at a time."""
RETRY_MS = 1000
"""For a browser's own `EventSource`."""


class Seen(Protocol):
    """The streams, as the events tell of them."""

    def states(self) -> Hashable:
        """Differs when an event is due at once. Cheap."""
        ...

    def rows(self) -> Iterable[dict[str, Any]]:
        """Every stream in a few words."""
        ...

    def row(self, name: str) -> dict[str, Any] | None:
        """All that is known of one."""
        ...

    @property
    def over(self) -> bool:
        """The server closes, and nothing more will change."""
        ...


class Events:
    """On the loop's thread."""

    def __init__(
        self,
        seen: Seen,
        wall_ns: Callable[[], int] = time.time_ns,
        now_s: Callable[[], float] = time.monotonic,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.listeners = 0
        self._seen = seen
        self._wall_ns = wall_ns
        self._now_s = now_s
        self._pause = pause

    def answer(self, watched: str | None, admit: Callable[[], Awaitable[None]]) -> EventStream:
        """Everything from now on; more of the stream that is `watched`. `admit` raises
        `HTTPException` once the listener may not listen any more. Raises it where too many do."""
        if self.listeners >= MOST:
            raise HTTPException(503, "too many listen to events already", {"retry-after": "5"})
        return EventStream(self, self.told(watched, admit))

    async def told(
        self, watched: str | None, admit: Callable[[], Awaitable[None]]
    ) -> AsyncIterator[bytes]:
        """The events of one listener, as bytes."""
        yield b"retry: %d\n\n" % RETRY_MS
        beat, missed = 0, 0
        while not self._seen.over:
            states = self._seen.states()
            given_s = self._now_s()
            yield self._event(watched, missed)
            missed += int((self._now_s() - given_s) / (BEAT_S * EVERY))
            for _ in range(EVERY):
                await self._pause(BEAT_S)
                beat += 1
                if beat % ASKED_AGAIN == 0:
                    try:
                        await admit()
                    except HTTPException as refusal:
                        yield _written("refused", {"status": refusal.status_code})
                        return
                if self._seen.over or self._seen.states() != states:
                    break
        yield self._event(watched, missed)
        yield _written("end", {})

    def _event(self, watched: str | None, missed: int) -> bytes:
        return _written(
            "streams",
            {
                "unix_ms": self._wall_ns() // 1_000_000,
                "missed": missed,
                "streams": list(self._seen.rows()),
                "watched": None if watched is None else self._seen.row(watched),
            },
        )


class EventStream(StreamingResponse):
    """An answer that proxies must not keep or gather."""

    def __init__(self, events: Events, told: AsyncIterator[bytes]) -> None:
        headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
        super().__init__(told, headers=headers, media_type="text/event-stream")
        self._events = events

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._events.listeners += 1
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._events.listeners -= 1


def _written(event: str, data: dict[str, Any]) -> bytes:
    text = json.dumps(data, separators=(",", ":"), ensure_ascii=True)
    return f"event: {event}\ndata: {text}\n\n".encode()
