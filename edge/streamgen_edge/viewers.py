"""`Viewers`: who may watch which stream, and how many do already, whichever edge its home is."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any, Protocol

from streamgen.deliver.live import LivePackager
from streamgen.telemetry import Telemetry
from streamgen_edge.auth.access import Access
from streamgen_edge.auth.asking import Asking, Scope
from streamgen_edge.crowd import Refusals
from streamgen_edge.hls import Viewer
from streamgen_edge.settings import Server, StreamSettings
from streamgen_edge.stream import LiveStream
from streamgen_edge.viewing import Viewing


class Watched(Protocol):
    """A stream that can be watched here: one of ours, or a copy of another edge's."""

    @property
    def name(self) -> str: ...
    @property
    def session(self) -> str: ...
    @property
    def over(self) -> bool: ...
    @property
    def viewing(self) -> Viewing: ...
    @property
    def telemetry(self) -> Telemetry: ...


class Copies(Protocol):
    """Streams of other edges, as far as they are here (`mirror.mirrors.Mirrors`)."""

    def __iter__(self) -> Iterator[Watched]: ...

    def get(self, name: str, /, *, hls: bool) -> Watched | None:
        """For a viewer who comes by HLS, or not; None: it is not here, or not as viewers need it
        now."""
        ...

    async def demand(self, name: str, /, *, hls: bool) -> Watched | None:
        """The same, once it has come from the edge that has it. None: nobody has it."""
        ...

    def request_keyframe(self, name: str, reason: str, /) -> None: ...

    def briefs(self, watching: Callable[[str], int], /) -> Iterator[dict[str, Any]]:
        """Each in a few words; so many are `watching` it by WebRTC."""
        ...

    def row(self, name: str, watching: int, /) -> dict[str, Any] | None:
        """All that is known of one here."""
        ...


class Hosting(Protocol):
    """The streams whose home is here, and what the configuration says."""

    server: Server
    access: Access
    refusals: Refusals
    watching: Callable[[str], int]
    """How many viewers a stream has by WebRTC."""

    def __iter__(self) -> Iterator[LiveStream]: ...

    def find(self, name: str, /) -> LiveStream | None: ...


class Viewers:
    """On the loop's thread."""

    def __init__(self, hosting: Hosting) -> None:
        self.copies: Copies | None = None
        """None: there are no other edges."""
        self.edge: str | None = None
        """Our own name among them."""
        self._hosting = hosting

    def all(self) -> Iterator[Watched]:
        """All that can be watched, each name once."""
        names = set()
        for stream in self._hosting:
            names.add(stream.name)
            yield stream
        for copy in () if self.copies is None else self.copies:
            if copy.name not in names:
                yield copy

    def find(self, name: str, /, *, hls: bool) -> Watched | None:
        """For a viewer who comes by HLS, or not; a stream that has its home here goes first."""
        found = self._hosting.find(name)
        if (found is None or found.over) and self.copies is not None:
            return self.copies.get(name, hls=hls) or found
        return found

    async def demanded(self, name: str, /, *, hls: bool) -> Watched | None:
        """The same, once it has come from the edge that has it."""
        found = self.find(name, hls=hls)
        if self.copies is None or self._settings(name) is None:
            return found
        if found is None or found.over:
            return await self.copies.demand(name, hls=hls) or found
        return found

    def briefs(self) -> Iterator[dict[str, Any]]:
        """Streams of other edges that are watched here, for the API."""
        if self.copies is not None:
            for row in self.copies.briefs(self._hosting.watching):
                if not self._ours(row["name"]):
                    yield row

    def row(self, name: str) -> dict[str, Any] | None:
        """One of them."""
        if self.copies is None or self._ours(name):
            return None
        return self.copies.row(name, self._hosting.watching(name))

    def _ours(self, name: str) -> bool:
        found = self._hosting.find(name)
        return found is not None and not found.over

    def request_keyframe(self, name: str, reason: str) -> None:
        """Viewers of this stream need one, wherever it is made."""
        found = self._hosting.find(name)
        if found is not None and not found.over:
            found.tenure.request_keyframe(reason)
        elif self.copies is not None:
            self.copies.request_keyframe(name, reason)

    def get(self, name: str, /) -> LivePackager | None:
        """What plays as HLS under this name (`hls.app.Streams`)."""
        stream = self.find(name, hls=True)
        return None if stream is None else stream.viewing.packager

    async def demand(self, name: str, /) -> LivePackager | None:
        """The same, once it has come from the edge that has it."""
        stream = await self.demanded(name, hls=True)
        return None if stream is None else stream.viewing.packager

    async def may_play(self, viewer: Viewer) -> int | None:
        """Whether a viewer may have a playlist (`hls.app.Authorize`): None, or the status of the
        refusal, 503 where too many watch already."""
        status = await self.allows(viewer, "hls")
        stream = self.find(viewer.stream, hls=True)
        settings = self._settings(viewer.stream)
        if status is not None or stream is None or settings is None:
            return status
        viewing, now = stream.viewing, time.monotonic()
        if viewing.audience.goes_on(viewer.token, viewer.address, now):
            return None
        watching = self._hosting.watching(viewer.stream)
        most = self.room(viewer.stream, settings) - watching
        if viewing.audience.admits(viewer.token, viewer.address, most, now):
            return None
        stream.telemetry.count("refused", "viewers")
        if most < settings.limits.viewers - watching:
            self._hosting.refusals.add("viewers")
        return 503

    def room(self, name: str, settings: StreamSettings) -> int:
        """How many viewers a stream may have here now, beside those that the others have."""
        now, most = time.monotonic(), self._hosting.server.limits.viewers
        for other in self.all():
            if other.name != name:
                most -= self._hosting.watching(other.name) + other.viewing.audience.count(now)
        return min(settings.limits.viewers, most)

    async def allows(self, viewer: Viewer, protocol: str) -> int | None:
        """Whether this viewer may play at all: None, or the status of the refusal."""
        settings = self._settings(viewer.stream)
        if settings is None:
            return 403
        if settings.play == "anyone":
            return None
        asking = Asking(Scope.PLAY, viewer.stream, viewer.token, protocol, viewer.address)
        return await self._hosting.access.status(asking, settings.play)

    def _settings(self, name: str) -> StreamSettings | None:
        return self._hosting.server.stream(name)
