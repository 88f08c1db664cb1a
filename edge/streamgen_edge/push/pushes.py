"""`Pushes`: what the streams of one edge are sent on to, by configuration and by the API."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from streamgen_edge.ending import all_ended
from streamgen_edge.outbound.settings import OutboundSettings
from streamgen_edge.push.marks import Marks
from streamgen_edge.push.push import Counting, Push, Source
from streamgen_edge.push.settings import PushSettings

MOST_ASKED = 256
"""Names for which wishes of the API are remembered; the oldest make room."""
MOST_EACH = 16
"""Targets of one stream."""


Start = Callable[[str, PushSettings, OutboundSettings], Push]


class StreamPushes:
    """Those of one session. Each has begun when the session has."""

    def __init__(self, start: Start, ask: Callable[[], None]) -> None:
        """`ask` is for a key frame."""
        self._start = start
        self._ask = ask
        self.via: tuple[str, ...] = ()
        """Marks of the streams that it comes from."""
        self._all: dict[str, Push] = {}
        self._source: Source | None = None
        self._over = False

    def want(self, wanted: Mapping[str, PushSettings], outbound: OutboundSettings) -> None:
        """These from now on: what stays as it was goes on undisturbed."""
        if self._over:
            return
        for id, push in list(self._all.items()):
            if wanted.get(id) != push.settings or outbound != push.outbound:
                push.end()
                del self._all[id]
        for id, settings in wanted.items():
            if id not in self._all:
                push = self._all[id] = self._start(id, settings, outbound)
                if self._source is not None:
                    push.follow(self._source, self._ask)

    def come(self, via: tuple[str, ...]) -> None:
        """Another publisher: the targets are asked anew where the stream comes from elsewhere."""
        if via == self.via or self._over:
            return
        self.via = via
        former, self._all = self._all, {}
        for push in former.values():
            push.end()
        for push in former.values():  # all have the same `outbound`
            self.want({one.id: one.settings for one in former.values()}, push.outbound)

    def follow(self, source: Source) -> None:
        """The session has begun."""
        self._source = source
        for push in self._all.values():
            push.follow(source, self._ask)

    def hold(self) -> None:
        """None for now: another edge may have the stream."""
        for push in self._all.values():
            push.end(moved=True)
        self._all.clear()

    def end(self, *, moved: bool = False) -> None:
        self._over = True
        for push in self._all.values():
            push.end(moved=moved)

    def facts(self) -> list[dict[str, Any]]:
        """For the API."""
        return [push.facts() for push in self._all.values()]


class Pushed(Protocol):
    """A session, as far as it is pushed (`stream.LiveStream`)."""

    @property
    def name(self) -> str: ...
    @property
    def ids(self) -> Mapping[str, str]: ...
    @property
    def telemetry(self) -> Counting: ...
    @property
    def viewing(self) -> Viewed: ...
    @property
    def tenure(self) -> Encoded: ...


class Viewed(Protocol):
    """What viewers get of it (`viewing.Viewing`)."""

    pushes: StreamPushes | None

    def push(self, pushes: StreamPushes) -> None: ...


class Encoded(Protocol):
    """Who makes its pictures (`tenure.Tenure`)."""

    def request_keyframe(self, reason: str) -> None: ...


class Pushes:
    """On the loop's thread."""

    def __init__(self) -> None:
        self.marks = Marks()
        self._asked: dict[str, dict[str, PushSettings | None]] = {}
        """By stream, what the API wants beside the configuration; None: not this one."""
        self._all: list[Push] = []

    def apply(
        self,
        stream: Pushed,
        configured: Mapping[str, PushSettings],
        outbound: OutboundSettings,
    ) -> None:
        """Push a session as it is wanted now."""
        viewing = stream.viewing
        pushes = viewing.pushes
        if pushes is None:

            def start(id: str, settings: PushSettings, outbound: OutboundSettings) -> Push:
                self._all = [one for one in self._all if one.running]
                via = (*made.via, self.marks.of(stream.name))
                push = Push(id, settings, outbound, stream.ids, stream.telemetry, via=via)
                self._all.append(push)
                return push

            made = StreamPushes(start, lambda: stream.tenure.request_keyframe("push"))
            viewing.push(made)
            pushes = made
        pushes.want(self.wanted(stream.name, configured), outbound)

    def arrived(self, stream: Pushed, via: tuple[str, ...]) -> None:
        """A publisher that comes from there."""
        if stream.viewing.pushes is not None:
            stream.viewing.pushes.come(via)

    def wanted(
        self, stream: str, configured: Mapping[str, PushSettings]
    ) -> dict[str, PushSettings]:
        """By id, where a stream is to be sent whenever it is live."""
        both = {**configured, **self._asked.get(stream, {})}
        return {id: one for id, one in both.items() if one is not None}

    def ask(self, stream: str, id: str, wish: PushSettings | None) -> None:
        """Remember a wish of the API, for the sessions to come, too; None: not this one.

        Raises `ValueError` where a stream has too many.
        """
        wishes = self._asked.pop(stream, {})
        self._asked[stream] = wishes
        if id not in wishes and len(wishes) >= MOST_EACH:
            raise ValueError(f"a stream has {MOST_EACH} wishes for pushes at most")
        wishes[id] = wish
        while len(self._asked) > MOST_ASKED:
            del self._asked[next(iter(self._asked))]

    def wishes(self, stream: str) -> Mapping[str, PushSettings | None]:
        """The API's."""
        return dict(self._asked.get(stream, {}))

    def inherit(self, stream: str, wishes: Mapping[str, PushSettings | None]) -> None:
        """The API's wishes as another edge had them."""
        self._asked.pop(stream, None)
        for id, wish in list(wishes.items())[:MOST_EACH]:
            self.ask(stream, id, wish)

    def forget(self, stream: str, id: str, *, configured: bool) -> bool:
        """Not this target. False where it is none. Raises `ValueError` as `ask`."""
        wishes = self._asked.get(stream, {})
        if wishes.get(id, configured or None) is None:
            return False
        wishes.pop(id, None)
        if configured:
            self.ask(stream, id, None)
        return True

    async def finished(self, within_s: float) -> bool:
        """Every process has ended. False where one takes longer than that."""
        return await all_ended(self._all, within_s)
