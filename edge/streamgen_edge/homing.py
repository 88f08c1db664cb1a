"""`Homing`: streams that go from edge to edge, where their publishers go. This edge is the home
of those whose publishers are here, until a newer publisher of the same stream comes elsewhere.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from streamgen.control.coordinator.homes import Home
from streamgen.errors import ConfigError
from streamgen.telemetry import Telemetry
from streamgen_edge.hooks.event import EndReason
from streamgen_edge.passport import OVER, Legacy, Passport, Wishes
from streamgen_edge.push.settings import PushSettings
from streamgen_edge.rtmp.publisher import Refused
from streamgen_edge.viewing import Viewing

TAKEN = "another publisher has taken the stream over"
log = logging.getLogger("streamgen.edge.homing")


class Homes(Protocol):
    """The cluster's word on whose a stream is (`cluster.homes.ClusterHomes`)."""

    lost: Callable[[str, Home], None]
    doubted: Callable[[str], None]

    @property
    def edge(self) -> str: ...

    def sure(self, stream: str) -> bool: ...

    async def claim(self, stream: str) -> Home: ...

    def carry(self, stream: str, passport: str) -> None: ...

    def leave(self, stream: str) -> None: ...


class Copies(Protocol):
    """What viewers have here of other edges' streams (`mirror.mirrors.Mirrors`)."""

    def give_up(self, name: str, /) -> Viewing | None:
        """What viewers here have of a stream, which has its home here from now on; None: nothing,
        there are none."""
        ...

    def adopt(self, name: str, viewing: Viewing, /) -> None:
        """What was ours is another edge's from now on, and so are its viewers here."""
        ...


class Recordings(Protocol):
    """`recording.recording.Recordings`."""

    def wish(self, name: str) -> bool | None: ...

    def inherit(self, name: str, wish: bool | None) -> None: ...


class Pushes(Protocol):
    """`push.pushes.Pushes`."""

    def wishes(self, stream: str) -> Mapping[str, PushSettings | None]: ...

    def inherit(self, stream: str, wishes: Mapping[str, PushSettings | None]) -> None: ...


class Hooks(Protocol):
    """`hooks.hooks.Hooks`."""

    def went_on(self, ids: Mapping[str, str], began_s: float) -> None: ...

    def moved(self, ids: Mapping[str, str]) -> None: ...


class Housed(Protocol):
    """A stream that is here (`stream.LiveStream`)."""

    error: str
    reason: EndReason

    @property
    def name(self) -> str: ...
    @property
    def over(self) -> bool: ...
    @property
    def ids(self) -> Mapping[str, str]: ...
    @property
    def session(self) -> str: ...
    @property
    def pipeline(self) -> dict[str, Any]: ...
    @property
    def params(self) -> dict[str, dict[str, Any]]: ...
    @property
    def version(self) -> int: ...
    @property
    def viewing(self) -> Viewing: ...
    @property
    def telemetry(self) -> Telemetry: ...

    def end(self, reason: EndReason) -> None: ...


class Homing:
    """On the loop's thread. Without `homes` there are no other edges."""

    def __init__(
        self,
        wall_ns: Callable[[], int],
        recordings: Recordings,
        pushes: Pushes,
        hooks: Hooks,
        here: Callable[[str], Housed | None],
    ) -> None:
        """`here` finds the stream of a name that goes on here."""
        self.copies: Copies | None = None
        self.doubted: Callable[[str], None] = lambda name: None
        """`sure` says another thing of a stream than before."""
        self._homes: Homes | None = None
        self._wall_ns = wall_ns
        self._recordings, self._pushes, self._hooks = recordings, pushes, hooks
        self._here = here

    def join(self, homes: Homes) -> None:
        """There are other edges, from now on."""
        self._homes = homes
        homes.lost = self._lost
        homes.doubted = lambda name: self.doubted(name)

    @property
    def joined(self) -> bool:
        """There are other edges."""
        return self._homes is not None

    def sure(self, name: str) -> bool:
        """Whether a stream that is here may be pushed: no other edge can have it."""
        return self._homes is None or self._homes.sure(name)

    async def claim(self, name: str, grace_s: float) -> Legacy | None:
        """A publisher of a stream that is not here has come: what it goes on from, if it was at
        another edge, within `grace`. Raises `Refused` where a newer one has come elsewhere."""
        if self._homes is None:
            return None
        home = await self._homes.claim(name)
        if home.edge != self._homes.edge:
            raise Refused(TAKEN, later=True)
        return None if home.alone_ms > grace_s * 1000 else self._legacy(home)

    def _legacy(self, home: Home) -> Legacy | None:
        if home.passport in ("", OVER):
            return None
        try:
            passport = Passport.read(home.passport)
        except ConfigError as error:
            log.warning("stream %s begins anew: %s", home.stream, error)
            return None
        elapsed_ns = max(0, self._wall_ns() - passport.unix_ns)
        return Legacy(passport, elapsed_ns, self._viewing(home.stream, passport.session))

    def _viewing(self, name: str, session: str) -> Viewing | None:
        """What viewers here have of this session."""
        viewing = None if self.copies is None else self.copies.give_up(name)
        packager = None if viewing is None else viewing.packager
        if packager is not None and packager.start.session == session and not packager.ended:
            return viewing
        if viewing is not None:
            viewing.end()
        return None

    def begun(self, stream: Housed, legacy: Legacy | None) -> None:
        """A stream has its home here."""
        name = stream.name
        if legacy is not None:
            wishes = legacy.passport.wishes
            self._recordings.inherit(name, wishes.record)
            self._pushes.inherit(name, wishes.push)
            self._hooks.went_on(stream.ids, legacy.elapsed_ns / 1e9)
            log.info("goes on where another edge had it", extra=stream.ids)
        self.carry(stream)

    def carry(self, stream: Housed) -> None:
        """Tell what the stream's next home must know."""
        if self._homes is None or (stream.over and stream.reason is EndReason.MOVED):
            return
        wishes = Wishes(self._recordings.wish(stream.name), self._pushes.wishes(stream.name))
        passport = None if stream.over else Passport.of(stream, wishes)
        if passport is not None:
            self._homes.carry(stream.name, passport.text)
        elif stream.over:
            self._homes.carry(stream.name, OVER)

    def not_begun(self, name: str, legacy: Legacy | None) -> None:
        """What was claimed cannot begin, unless another publisher has begun it."""
        stream = self._here(name)
        if stream is not None and not stream.over:
            return
        if legacy is not None and legacy.viewing is not None:
            legacy.viewing.end()
        if self._homes is not None:
            self._homes.leave(name)

    def over(self, stream: Housed) -> None:
        """It is not here any more, and no other one of its name is."""
        if self._homes is not None:
            self._homes.leave(stream.name)

    def moved(self, stream: Housed) -> None:
        """It was let go of, but for its viewers."""
        self._hooks.moved(stream.ids)
        if self.copies is not None and stream.viewing.packager is not None:
            self.copies.adopt(stream.name, stream.viewing)
        else:
            stream.viewing.end()

    def _lost(self, name: str, home: Home) -> None:
        stream = self._here(name)
        if stream is not None and not stream.over:
            where = home.edge or "another edge"
            log.info("has its home at %s now", where, extra=dict(stream.ids))
            stream.error = TAKEN
            stream.end(EndReason.MOVED)
