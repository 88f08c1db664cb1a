"""`Hooks`: all services that are told what happens to streams, and what they are told."""

from __future__ import annotations

import asyncio
import logging
import random
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from streamgen_edge.hooks.delivery import WITHIN_S
from streamgen_edge.hooks.event import EndReason, Event, Kind
from streamgen_edge.hooks.sender import WAITS_S, Counting, Means, Sender
from streamgen_edge.hooks.settings import HookSettings
from streamgen_edge.outbound.client import Client
from streamgen_edge.recording.reel import Kept
from streamgen_edge.store import LateStore

COUNTED = ("takeovers", "stalls", "left_out", "unused", "refused")
"""Of a session, as the API has them."""
MOST_ERROR = 1000
"""Characters of what went wrong with a stream."""
log = logging.getLogger("streamgen.edge.hooks")


class Counts(Protocol):
    def counts(self, name: str) -> dict[str, int]: ...


class Pictures(Protocol):
    """What became of them (`ledger.Ledger`)."""

    frames_in: int
    frames_out: int

    @property
    def dropped(self) -> dict[str, int]: ...


class Ended(Protocol):
    """A session that is over (`stream.LiveStream`)."""

    reason: EndReason
    error: str

    @property
    def ids(self) -> Mapping[str, str]: ...
    @property
    def ledger(self) -> Pictures: ...
    @property
    def telemetry(self) -> Counts: ...


@dataclass(frozen=True)
class Ids:
    """A session, as others may know it."""

    stream: str
    session: str


@dataclass(frozen=True)
class _Running:
    sender: Sender
    task: asyncio.Task[None] = field(repr=False)


class Hooks:
    """On the loop's thread. What is told here costs the stream a place in a queue."""

    def __init__(
        self,
        client: Client,
        telemetry: Counting,
        wall_ns: Callable[[], int] = time.time_ns,
        *,
        waits_s: Sequence[float] = WAITS_S,
        within_s: float = WITHIN_S,
    ) -> None:
        """`wall_ns` is the clock on the wall; `waits_s` stand between the tries of one event, each
        of which takes `within_s` at most."""
        self._telemetry = telemetry
        self._wall_ns = wall_ns
        self._means = Means(
            client,
            telemetry,
            clock_s=time.monotonic,
            wall_s=lambda: wall_ns() / 1e9,
            dice=random.Random(),
            waits_s=waits_s,
            within_s=within_s,
        )
        self._running: dict[str, _Running] = {}
        self._began_s: dict[Ids, float] = {}
        """Of the sessions that go on."""
        self._hurried_s: float | None = None

    def keep(self, store: LateStore) -> None:
        """Hooks that are used from now on have their events there, until they are heard."""
        self._means = replace(self._means, store=store)

    def use(self, wanted: Mapping[str, HookSettings]) -> None:
        """These from now on; what is left for one that stays goes where it is now."""
        for name in self._running.keys() - wanted.keys():
            self._stop(self._running.pop(name))
        for name, settings in wanted.items():
            if name in self._running:
                self._running[name].sender.settings = settings
            else:
                self._running[name] = self._start(Sender(name, settings, self._means))

    def began(self, ids: Mapping[str, str], publisher: Mapping[str, Any]) -> None:
        """Viewers get the first picture. `publisher` as the API tells of it."""
        known = Ids(**ids)
        self._began_s[known] = self._means.clock_s()
        self._tell(Kind.PUBLISH, known, _source(publisher))

    def went_on(self, ids: Mapping[str, str], began_s: float) -> None:
        """It was another edge's, which has told that it began, so many seconds ago."""
        self._began_s[Ids(**ids)] = self._means.clock_s() - began_s

    def moved(self, ids: Mapping[str, str]) -> None:
        """It is another edge's, which tells of its end."""
        self._began_s.pop(Ids(**ids), None)

    def ended(self, stream: Ended) -> None:
        """It is over. One that never began is not spoken of."""
        ids = Ids(**stream.ids)
        began_s = self._began_s.pop(ids, None)
        if began_s is not None:
            lasted_s = round(self._means.clock_s() - began_s, 3)
            self._tell(Kind.END, ids, {"duration_s": lasted_s, **_end(stream)})

    def kept(self, file: Kept) -> None:
        """A recording's file is closed."""
        facts = {"path": file.path, "bytes": file.bytes, "duration_s": round(file.seconds, 3)}
        self._tell(Kind.RECORD, Ids(file.stream, file.session), facts)

    def facts(self) -> list[dict[str, Any]]:
        """For the API."""
        return [one.sender.facts() for one in self._running.values()]

    async def hurry(self) -> None:
        """Nothing more comes: what is left is told now."""
        if self._hurried_s is None:
            await asyncio.sleep(0)  # what threads have just handed over comes first
            self._hurried_s = self._means.clock_s()
            for one in self._running.values():
                one.sender.hurry()

    async def finished(self, within_s: float) -> None:
        """All is told, or so long has passed since `hurry`. The log hears how much was not told."""
        await self.hurry()
        until_s = (self._hurried_s or 0.0) + within_s
        if self._running:
            tasks = [one.task for one in self._running.values()]
            await asyncio.wait(tasks, timeout=max(0.0, until_s - self._means.clock_s()))
            for one in self._running.values():
                self._stop(one)
            await asyncio.gather(*tasks, return_exceptions=True)
        self._running.clear()

    def _tell(self, kind: Kind, ids: Ids, facts: Mapping[str, Any]) -> None:
        id, unix_ns = str(uuid.uuid4()), self._wall_ns()
        event = Event.of(kind, id, unix_ns, ids.stream, ids.session, facts)
        for one in self._running.values():
            if kind in one.sender.settings.events:
                one.sender.tell(event)

    def _start(self, sender: Sender) -> _Running:
        task = asyncio.get_running_loop().create_task(sender.run(), name=f"hook {sender.name}")
        task.add_done_callback(_report)
        return _Running(sender, task)

    def _stop(self, one: _Running) -> None:
        one.task.cancel()
        lost, left = one.sender.fleeting, one.sender.left
        if lost:
            log.warning("hook %s ends, events not told: %d", one.sender.name, lost)
            self._telemetry.count("hook_dropped", one.sender.name, lost)
        if left > lost:
            log.info("hook %s ends, events left in the store: %d", one.sender.name, left - lost)
        self._telemetry.gauge("hook_left", one.sender.name, 0)


def _report(task: asyncio.Task[None]) -> None:
    """What should not be: no stream hears of it, but the log does."""
    error = None if task.cancelled() else task.exception()
    if error is not None:
        about = {"message": f"{task.get_name()} broke", "exception": error, "task": task}
        task.get_loop().call_exception_handler(about)


def _source(publisher: Mapping[str, Any]) -> dict[str, Any]:
    """What is published, and how."""
    tracks = publisher.get("tracks", ())
    video: Mapping[str, Any] = next((one for one in tracks if one["name"].startswith("video/")), {})
    audio: Mapping[str, Any] = next((one for one in tracks if one["name"].startswith("audio/")), {})
    return {
        "protocol": publisher.get("protocol"),
        "codec": video.get("codec"),
        "width": video.get("width") or None,
        "height": video.get("height") or None,
        "sound": audio.get("codec"),
    }


def _end(stream: Ended) -> dict[str, Any]:
    pictures = stream.ledger
    return {
        "reason": stream.reason.value,
        "error": stream.error[:MOST_ERROR] or None,
        "frames_in": pictures.frames_in,
        "frames_out": pictures.frames_out,
        "dropped": pictures.dropped,
        **{what: stream.telemetry.counts(what) for what in COUNTED},
    }
