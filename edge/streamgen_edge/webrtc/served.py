"""The server's live streams as WebRTC sees them, and WebRTC as its configuration has it."""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from typing import Any

from streamgen.telemetry import Telemetry
from streamgen_edge.crowd import Crowd
from streamgen_edge.publishing import Streams
from streamgen_edge.rtmp.publisher import Publisher, Sink
from streamgen_edge.settings import Server
from streamgen_edge.viewers import Viewers, Watched
from streamgen_edge.webrtc.app import WebRtcApp
from streamgen_edge.webrtc.channel import Playing, TrackFacts
from streamgen_edge.webrtc.network import Network
from streamgen_edge.webrtc.session import Share


class ServedStream:
    """`channel.Playable` of a live stream. What viewers get outlives the stream's way to it: it may
    become another edge's, and ours again."""

    def __init__(self, stream: Watched, viewers: Viewers) -> None:
        self.name = stream.name
        self.session = stream.session
        self.over = stream.over
        self._viewing = stream.viewing
        self._viewers = viewers

    @property
    def tracks(self) -> Sequence[TrackFacts]:
        return self._viewing.tracks

    @property
    def feed(self) -> Playing:
        return self._viewing.feed

    @property
    def resting(self) -> Collection[str]:
        return self._viewing.resting

    def request_keyframe(self, reason: str) -> None:
        self._viewers.request_keyframe(self.name, reason)


class ServedStreams:
    """`app.Streams` of a server."""

    def __init__(self, streams: Streams) -> None:
        self._streams = streams

    async def find(self, name: str, /) -> ServedStream | None:
        viewers = self._streams.viewers
        found = await viewers.demanded(name, hls=False)
        return None if found is None else ServedStream(found, viewers)

    async def may_play(self, viewer: Any, /) -> int | None:
        return await self._streams.viewers.allows(viewer, "whep")

    async def publish(self, publisher: Publisher, /) -> Sink:
        return await self._streams.publish(publisher)


def webrtc_app(streams: Streams, server: Server, telemetry: Telemetry) -> WebRtcApp:
    """The application as a server's configuration has it. Raises `ConfigError`."""
    settings, viewers = server.webrtc, streams.viewers
    network = Network(
        settings.listen,
        settings.udp_ports,
        settings.advertise,
        settings.ice_servers,
        settings.turn,
        wall_s=time.time,
    )

    def share(name: str) -> Share:
        found, stream = streams.server.stream(name), viewers.find(name, hls=False)
        if found is None:
            return Share()
        by_hls = 0 if stream is None else stream.viewing.audience.count(time.monotonic())
        elsewhere = streams.watching(name) - app.watching(name)
        return Share(found.limits.bitrate, viewers.room(name, found) - by_hls - elsewhere)

    def count(name: str, reason: str) -> None:
        if name == "refused":
            streams.refusals.add(reason)
        else:
            telemetry.count(name, reason)

    app = WebRtcApp(
        ServedStreams(streams),
        network,
        share=share,
        origins=server.http.origins,
        count=count,
        crowd=Crowd(
            "connections.webrtc",
            lambda: streams.server.limits.connections.webrtc,
            streams.refusals,
        ),
    )
    streams.watching = app.watching
    return app
