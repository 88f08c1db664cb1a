"""`Streams`: every live stream by name, who may publish and play it, and its publishers' sinks."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Awaitable, Callable
from typing import Any

from streamgen.deliver.live import LiveSettings
from streamgen.errors import StreamGenError
from streamgen.pipeline import parse_pipeline, pipeline_value
from streamgen.telemetry import Metrics, Telemetry
from streamgen_edge.allowance import Allowance
from streamgen_edge.auth.access import LATER
from streamgen_edge.auth.asking import Asking, Scope
from streamgen_edge.auth.opening import Opening
from streamgen_edge.crowd import Refusals
from streamgen_edge.homing import Homing
from streamgen_edge.hooks.event import EndReason
from streamgen_edge.hooks.hooks import Hooks
from streamgen_edge.link import Link, WorkerSeen
from streamgen_edge.outbound.client import Client
from streamgen_edge.passport import Legacy
from streamgen_edge.push.pushes import Pushes
from streamgen_edge.push.settings import PushSettings, named
from streamgen_edge.recording.recording import Recordings
from streamgen_edge.replacement import kept
from streamgen_edge.rtmp.address import Publish
from streamgen_edge.rtmp.publisher import Looped, Publisher, Refused, Sink
from streamgen_edge.seats import Seating
from streamgen_edge.settings import Server, StreamSettings
from streamgen_edge.sink import RtmpSink
from streamgen_edge.stream import LiveStream
from streamgen_edge.viewers import Viewers

KEPT_S = 30.0
"""An ended session can still be played to its end."""
MOST_ENDED = 256
"""So many of them at most; the oldest makes room."""
MOST_CHOSEN = 256
"""Names for which a pipeline is remembered; the oldest choice makes room."""
log = logging.getLogger("streamgen.edge")


class Streams:
    """On the loop's thread."""

    def __init__(
        self,
        server: Server,
        link: Link,
        metrics: Metrics,
        wall_ns: Callable[[], int],
        own: Telemetry | None = None,
    ) -> None:
        """`own` is the server's own telemetry."""
        self.server = server
        self._client = Client(server.outbound)
        own = own or Telemetry()
        self.refusals = Refusals(own.count)
        self._opening = Opening(self._client, own)
        self.access = self._opening.access(server.auth)
        self.closing = False
        self.over = asyncio.Event()
        """The server closes, and the last stream has finished."""
        self.watching: Callable[[str], int] = lambda _: 0
        """How many viewers a stream has by WebRTC; set by who serves them."""
        self.viewers = Viewers(self)
        self.hooks = Hooks(self._client, own or Telemetry(), wall_ns)
        self.recordings = Recordings(self.hooks.kept)
        self.pushes = Pushes()
        self.seat: Callable[[str], Seating | None] = lambda name: None
        """Who says which worker a stream gets; None: it gets the idlest."""
        self.admit: Callable[[str, dict[str, Any]], Awaitable[None]] | None = None
        """Raises `Refused` where there is no room for a new stream by this pipeline, or for one
        that runs by another; None: there always is, as far as anybody says."""
        self._link = link
        self._metrics = metrics
        self._wall_ns = wall_ns
        self._streams: dict[str, LiveStream] = {}
        self.homing = Homing(
            wall_ns, self.recordings, self.pushes, self.hooks, lambda name: self._streams.get(name)
        )
        self.homing.doubted = self._doubted
        self._ended: dict[str, tuple[float, LiveStream]] = {}
        self._chosen: dict[str, dict[str, Any]] = {}
        self._number = secrets.randbelow(1 << 31)  # what a former edge sent for means nothing here
        link.welcome = self._prepare

    def __iter__(self) -> Any:
        return iter(list(self._streams.values()))

    def use(self, server: Server) -> None:
        """Another configuration, also for the streams that are there."""
        self._client.use(server.outbound)
        self.hooks.use(server.hooks)
        if server.auth != self.server.auth:
            self.access = self._opening.access(server.auth)
        self.server = server
        for stream in self._streams.values():
            self._carry(stream)

    def _carry(self, stream: LiveStream) -> None:
        """Record the stream and push it, as it is wanted now."""
        self._keep(stream)
        self._push(stream)

    def _keep(self, stream: LiveStream) -> None:
        wanted = self.server.recording if self._recorded(stream.name) else None
        self.recordings.apply(stream.name, stream.viewing, stream.telemetry, wanted)
        self.homing.carry(stream)

    def _recorded(self, name: str) -> bool:
        settings = self.server.stream(name)
        return self.recordings.asked(name, configured=settings is not None and settings.record)

    def record(self, name: str, wanted: bool) -> bool:
        """The API wants a stream recorded, or not any more. False: so it was already."""
        if self._recorded(name) == wanted:
            return False
        self.recordings.ask(name, wanted)
        if name in self._streams:
            self._keep(self._streams[name])
        return True

    def _push(self, stream: LiveStream) -> None:
        if self.homing.sure(stream.name):
            self.pushes.apply(stream, self._configured(stream.name), self.server.outbound)
        elif stream.viewing.pushes is not None:
            stream.viewing.pushes.hold()
        self.homing.carry(stream)

    def _doubted(self, name: str) -> None:
        if name in self._streams:
            self._push(self._streams[name])

    def _configured(self, name: str) -> dict[str, PushSettings]:
        settings = self.server.stream(name)
        return named(() if settings is None else settings.push)

    def ask_push(self, name: str, id: str, wish: PushSettings) -> None:
        """The API wants a stream pushed. Raises `ValueError` where there are too many."""
        self.pushes.ask(name, id, wish)
        if name in self._streams:
            self._push(self._streams[name])

    def ends_push(self, name: str, id: str) -> bool:
        """The API wants a stream pushed there no more. False: it is not."""
        configured = self._configured(name)
        if not self.pushes.forget(name, id, configured=id in configured):
            return False
        if name in self._streams:
            self._push(self._streams[name])
        return True

    def find(self, name: str) -> LiveStream | None:
        """The stream that goes on, or the last one of this name that has just ended."""
        self._forget()
        stream = self._streams.get(name)
        if stream is None and name in self._ended:
            stream = self._ended[name][1]
        return stream

    async def publish(self, publisher: Publisher) -> Sink:
        """Let an RTMP publisher in (`rtmp.publisher.OnPublish`). Raises `Refused`."""
        request = publisher.request
        settings = self.server.stream(request.stream)
        if self.closing:
            raise Refused("the server stops")
        if settings is None:
            raise Refused("there is no such stream here")
        await self._refuse_strangers(request, settings)
        if self.pushes.marks.of(request.stream) in request.via:
            raise Looped
        if request.app == "whip":
            await self._refuse_without_room(request.stream, settings)
        stream = await self._home(request.stream, settings)
        former = stream.publisher
        sink = RtmpSink(stream, publisher, Allowance(settings.limits.bitrate))
        stream.arrive(sink)
        self.pushes.arrived(stream, request.via)
        if isinstance(former, RtmpSink):
            former.close("another publisher has taken the stream over")
        return sink

    async def _refuse_strangers(self, request: Publish, settings: StreamSettings) -> None:
        """Raises `Refused` for who may not publish this stream."""
        if settings.publish == "anyone":
            return
        protocol = "whip" if request.app == "whip" else "rtmp"
        asking = Asking(Scope.PUBLISH, request.stream, request.token, protocol, request.address)
        status = await self.access.status(asking, settings.publish)
        if status == LATER:
            raise Refused("whether this key may publish here cannot be said now", later=True)
        if status is not None:
            raise Refused("this key may not publish here")

    async def _refuse_without_room(self, name: str, settings: StreamSettings) -> None:
        """Before it is answered: WHIP has no way to say so later. By RTMP a stream is asked for
        once it is known how large its pictures are, and told then."""
        stream = self._streams.get(name)
        if self.admit is not None and (stream is None or stream.over):
            await self.admit(name, self._pipeline(name, settings)[0])

    async def change(self, stream: LiveStream, pipeline: dict[str, Any]) -> None:
        """Another pipeline for a stream from now on. Raises `Refused` where there is no room, and
        where the stream ends while that is asked."""
        if self.admit is not None:
            await self.admit(stream.name, kept(stream.pipeline, pipeline))
            if stream.over:
                raise Refused("the stream ends just now", later=True, wait_s=1)
        stream.use(pipeline)

    def choose(self, name: str, pipeline: dict[str, Any]) -> None:
        """The pipeline of the next session under this name, instead of the configured one."""
        self._chosen.pop(name, None)
        self._chosen[name] = pipeline
        while len(self._chosen) > MOST_CHOSEN:
            del self._chosen[next(iter(self._chosen))]

    async def _home(self, name: str, settings: StreamSettings) -> LiveStream:
        """The stream that is here, or that comes here with its publisher, or begins."""
        stream = self._streams.get(name)
        if stream is not None and not stream.over:
            return stream
        self._refuse_too_many(name)
        legacy = await self.homing.claim(name, settings.grace / 1e9)
        try:
            if self.closing:
                raise Refused("the server stops")
            return self._opened(name, settings, legacy)
        except Refused:
            self.homing.not_begun(name, legacy)
            raise

    def _refuse_too_many(self, name: str) -> None:
        if name not in self._streams and len(self._streams) >= self.server.limits.streams:
            self.refusals.add("streams")
            raise Refused("this server has as many streams as it may", later=True)

    def _opened(
        self, name: str, settings: StreamSettings, legacy: Legacy | None = None
    ) -> LiveStream:
        stream = self._streams.get(name)
        if stream is not None and not stream.over:
            return stream
        self._refuse_too_many(name)
        pipeline, hls = self._begins(name, settings, legacy)
        self._number += 1
        stream = LiveStream(
            name,
            self._number,
            self._link,
            pipeline,
            grace_s=settings.grace / 1e9,
            hls=hls,
            wall_ns=self._wall_ns,
            ended=self._over,
            seating=self.seat(name),
            legacy=legacy,
        )
        self._streams[name] = stream
        stream.viewing.began = lambda: self._began(stream)
        stream.changed = lambda: self.homing.carry(stream)
        self._metrics.add(name, stream.telemetry)
        self.homing.begun(stream, legacy)
        self._carry(stream)
        return stream

    def _begins(
        self, name: str, settings: StreamSettings, legacy: Legacy | None
    ) -> tuple[dict[str, Any], LiveSettings]:
        """By which pipeline, and how it is cut."""
        if legacy is not None:
            return legacy.passport.pipeline, legacy.passport.hls
        pipeline, grid_ns = self._pipeline(name, settings)
        self._chosen.pop(name, None)
        hls = self.server.hls
        return pipeline, LiveSettings(part_ns=hls.part, window_ns=hls.window, segment_ns=grid_ns)

    def _pipeline(self, name: str, settings: StreamSettings) -> tuple[dict[str, Any], int]:
        """Of the next session of this name, and how far apart its key frames are. Raises
        `Refused`."""
        try:
            pipeline = self._chosen.get(name)
            pipeline = pipeline or pipeline_value(settings.pipeline or self.server.pipeline)
            return pipeline, parse_pipeline(pipeline).keyframe_interval_ns(live=True)
        except StreamGenError as error:
            log.error("the pipeline of %s: %s", name, error)
            raise Refused("the pipeline of this stream cannot be used") from error

    def _began(self, stream: LiveStream) -> None:
        publisher = stream.publisher
        facts = publisher.facts() if isinstance(publisher, RtmpSink) else {}
        self.hooks.began(stream.ids, facts)

    def _over(self, stream: LiveStream) -> None:
        if self._streams.get(stream.name) is stream:
            del self._streams[stream.name]
        alone = stream.name not in self._streams
        if alone:
            self._metrics.remove(stream.name)
        if stream.reason is EndReason.MOVED:
            self.homing.moved(stream)
        else:
            self._keep_ended(stream)
            if alone:
                self.homing.over(stream)
        if isinstance(stream.publisher, RtmpSink):
            stream.publisher.close(stream.error or "the stream was ended")
        if self.closing and not self._streams:
            self.over.set()

    def _keep_ended(self, stream: LiveStream) -> None:
        self.hooks.ended(stream)
        self._ended.pop(stream.name, None)
        self._ended[stream.name] = (time.monotonic(), stream)
        while len(self._ended) > MOST_ENDED:
            del self._ended[next(iter(self._ended))]
        asyncio.get_running_loop().call_later(KEPT_S + 0.1, self._forget)

    def _prepare(self, worker: WorkerSeen) -> None:
        """A worker has come: all streams may have need of it."""
        for stream in self._streams.values():
            stream.tenure.warm(worker)

    def _forget(self) -> None:
        now = time.monotonic()
        for name, (at, _) in list(self._ended.items()):
            if now - at >= KEPT_S:
                del self._ended[name]

    def end_all(self, *, elsewhere: bool = False) -> None:
        """No new publishers; every stream is finished, or goes on `elsewhere` in the cluster, where
        its publisher comes next."""
        self.closing = True
        moves = elsewhere and self.homing.joined
        for stream in list(self._streams.values()):
            stream.end(EndReason.MOVED if moves else EndReason.SERVER)
        if not self._streams:
            self.over.set()
