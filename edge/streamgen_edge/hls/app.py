"""`hls_app`: LL-HLS for players, as a plain ASGI application.

    /hls/{stream}/index.m3u8                            authorised
    /hls/{stream}/{session}/{place}/index.m3u8          authorised; takes the delivery directives
    /hls/{stream}/{session}/{place}/{media}             immutable

A token comes in the query or as a bearer token. It is carried on to the media playlists, and no
further: media is fetched by the session id, which only playlists tell, so that caches share it.
"""

from __future__ import annotations

import gzip
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from hashlib import sha256
from typing import Protocol
from weakref import WeakKeyDictionary

from streamgen.deliver.live import LivePackager
from streamgen.deliver.rendition import Rendition
from streamgen.deliver.window import Absent, Window
from streamgen_edge.hls import answers
from streamgen_edge.hls.answers import Send, Sheet, refuse
from streamgen_edge.hls.request import BadRequest, Directives, Query, Scope, bearer, media, query
from streamgen_edge.hls.room import Receive, Room

FIRST_SEGMENT_S = 3.0
"""How long a playlist is held until there is a full segment: hls.js gives up without one."""
COPIED_S = 3.0
"""How long a request waits for a rendition of another edge to come here."""
_TARGETS = 3
"""Blocked requests end after so many target durations (RFC 8216bis, 6.2.5.2)."""
_METHODS = frozenset({"GET", "HEAD"})
_NOT_COPIED = "this rendition has not come from its edge yet"


@dataclass(frozen=True, slots=True)
class Viewer:
    """Who asks for a playlist."""

    stream: str
    token: str | None
    address: str | None


Authorize = Callable[[Viewer], Awaitable[int | None]]
"""None when the viewer may play, else the status of the refusal: 401, 403, or 503 where too many
do already."""


class Streams(Protocol):
    """Sessions by the name of their stream; a `dict` will do."""

    def get(self, name: str, /) -> LivePackager | None: ...


Demand = Callable[[str], Awaitable[LivePackager | None]]
"""Brings a stream here that is elsewhere; None: there is none."""


async def nowhere(name: str) -> None:
    """There is no elsewhere."""


@dataclass(frozen=True, slots=True)
class Limits:
    held: int = 5000
    """Requests of one session that may wait at a time; further ones get 503."""


def hls_app(
    streams: Streams,
    authorize: Authorize,
    *,
    prefix: str = "/hls",
    limits: Limits | None = None,
    demand: Demand = nowhere,
) -> HlsApp:
    """The application. It runs on the event loop whose thread writes into the packagers."""
    return HlsApp(streams, authorize, prefix=prefix, limits=limits or Limits(), demand=demand)


class HlsApp:
    def __init__(
        self,
        streams: Streams,
        authorize: Authorize,
        *,
        prefix: str,
        limits: Limits,
        demand: Demand = nowhere,
    ) -> None:
        self._streams = streams
        self._demand = demand
        self._authorize = authorize
        self._prefix = prefix
        self._limits = limits
        self._rooms: WeakKeyDictionary[LivePackager, Room] = WeakKeyDictionary()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise RuntimeError("HLS is served over HTTP only")
        path: str = scope["path"]
        place = path.removeprefix(self._prefix).split("/")[1:]
        if scope["method"] not in _METHODS:
            if scope["method"] == "OPTIONS":
                await answers.preflight(send)
            else:
                await refuse(send, 405, "only GET, HEAD and OPTIONS")
            return
        packager = self._streams.get(place[0]) if place else None
        wanted = len(place) == 4 or place[1:] == ["index.m3u8"]
        if packager is None and wanted and self._demand is not nowhere:
            # Nobody makes us fetch a stream who may not have its playlists; media is as public here
            # as where the stream is.
            if place[-1] == "index.m3u8" and await self._admitted(scope, send, place[0]) is None:
                return
            packager = await self._demand(place[0])
        if packager is None:
            await refuse(send, 404, "nobody publishes this stream", retry=True)
        elif len(place) == 2 and place[1] == "index.m3u8":
            await self._multivariant(scope, receive, send, place[0], packager)
        elif len(place) != 4 or place[1] != packager.start.session:
            await refuse(send, 404, "no such session")
        else:
            rendition = packager.renditions.get(place[2])
            if rendition is None:
                await refuse(send, 404, "no such rendition")
            elif place[3] == "index.m3u8":
                await self._media_playlist(scope, receive, send, place[0], packager, rendition)
            else:
                await self._media(scope, receive, send, packager, rendition, place[3])

    async def _admitted(self, scope: Scope, send: Send, stream: str) -> Query | None:
        """The query of a viewer who may play; None when the answer has been given."""
        try:
            asked = query(scope["query_string"])
        except BadRequest as error:
            await refuse(send, 400, str(error))
            return None
        client = scope.get("client")
        token = bearer(scope, asked.token)
        status = await self._authorize(Viewer(stream, token, client[0] if client else None))
        if status == 503:
            said = "too many viewers, or nobody can say now who may play"
            await refuse(send, status, said, retry=True)
            return None
        if status is not None:
            await refuse(send, status, "this viewer may not play this stream")
            return None
        return asked

    async def _multivariant(
        self, scope: Scope, receive: Receive, send: Send, stream: str, packager: LivePackager
    ) -> None:
        asked = await self._admitted(scope, send, stream)
        if asked is None:
            return
        room = self._room(packager)
        await room.until(lambda: packager.ready or packager.ended, None, FIRST_SEGMENT_S, receive)
        if not packager.playable:
            await refuse(send, 503, "the first segment is not there yet", retry=True)
            return
        carried = "" if asked.token is None else f"token={asked.token}"
        text = packager.multivariant(carried).encode()
        tag = sha256(text).hexdigest()[:16].encode()
        sheet = Sheet(text, lambda: gzip.compress(text, 5, mtime=0), tag=tag, cache=b"max-age=1")
        await sheet.send(send, scope)

    async def _media_playlist(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        stream: str,
        packager: LivePackager,
        rendition: Rendition,
    ) -> None:
        asked = await self._admitted(scope, send, stream)
        if asked is None:
            return
        room, window = self._room(packager), rendition.window
        if not await self._copied(packager, rendition, receive):
            await refuse(send, 503, _NOT_COPIED, retry=True)
            return
        if not window.ready:
            await room.until(
                lambda: window.ready or window.ended, rendition, FIRST_SEGMENT_S, receive
            )
            if not window.ready:
                await refuse(send, 503, "the first segment is not there yet", retry=True)
                return
        directives = asked.directives
        if directives.msn is not None:
            if _too_far(directives, rendition):
                await refuse(send, 400, "too far ahead of the live edge")
                return
            if not await self._blocked(room, rendition, directives, receive):
                await refuse(send, 503, "this part did not come in time", retry=True)
                return
        blocking = directives.msn is not None
        sheet = room.sheet(packager, rendition, skip=directives.skip, blocking=blocking)
        await sheet.send(send, scope)

    async def _copied(self, packager: LivePackager, rendition: Rendition, receive: Receive) -> bool:
        """Whether it is here as it is at its home, once it has come from there."""
        place, room = rendition.track.place, self._room(packager)
        return packager.wanted(place) or await room.until(
            lambda: packager.wanted(place), rendition, COPIED_S, receive
        )

    async def _blocked(
        self, room: Room, rendition: Rendition, directives: Directives, receive: Receive
    ) -> bool:
        """Blocking playlist reload (6.2.5.2): wait until the playlist holds what was asked for."""
        window, msn, part = rendition.window, directives.msn, directives.part
        assert msn is not None
        seconds = _TARGETS * rendition.facts.target_s
        return await room.until(
            lambda: window.ended or window.has(msn, part), rendition, seconds, receive
        )

    async def _media(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        packager: LivePackager,
        rendition: Rendition,
        file: str,
    ) -> None:
        window, video = rendition.window, rendition.track.video
        if not await self._copied(packager, rendition, receive):
            await refuse(send, 503, _NOT_COPIED, retry=True)
            return
        header = window.headers.get(file)
        if header is not None:
            await answers.media(send, scope, (header,), video=video)
            return
        name = media(file)
        if name is None:
            await refuse(send, 404, "no such media", cache_s=1)
            return
        found = _chunks(window, *name)
        if found is Absent.SOON:
            await self._room(packager).until(
                lambda: _chunks(window, *name) is not Absent.SOON,
                rendition,
                _TARGETS * rendition.facts.target_s,
                receive,
            )
            found = _chunks(window, *name)
        if not isinstance(found, Absent):
            await answers.media(send, scope, found, video=video)
        elif found is Absent.SOON:
            await refuse(send, 503, "this part did not come in time", retry=True)
        elif found is Absent.GONE:
            await refuse(send, 410, "this has left the window", cache_s=60)
        else:
            await refuse(send, 404, "no such media", cache_s=1)

    def _room(self, packager: LivePackager) -> Room:
        room = self._rooms.get(packager)
        if room is None:
            room = self._rooms[packager] = Room(packager, self._limits.held)
        return room


def _chunks(window: Window, number: int, index: int | None) -> tuple[bytes, ...] | Absent:
    if index is not None:
        part = window.part(number, index)
        return part if isinstance(part, Absent) else (part.data,)
    piece = window.segment(number)
    return piece if isinstance(piece, Absent) else tuple(part.data for part in piece.parts)


def _too_far(directives: Directives, rendition: Rendition) -> bool:
    """Whether a request is to be answered with 400 (6.2.5.2): more than two segments behind the
    last one, or more parts behind the last one than the Advance Part Limit."""
    window, msn, part = rendition.window, directives.msn, directives.part
    if msn is None or window.ended:
        return False
    number, index = window.following()
    if msn > number + 1:
        return True
    there = index - 1 if msn == number else -1
    return part is not None and msn >= number and part > there + rendition.facts.advance
