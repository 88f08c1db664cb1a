"""A small live stream for tests: x264 and Opus in real time, key frames when asked for."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import av
import numpy as np

from streamgen.media.packet import Packet
from streamgen_edge.feed import Feed
from streamgen_edge.rtmp.demux import Track
from streamgen_edge.rtmp.publisher import Ended, Publisher, Refused, Sink

FPS = 25


@dataclass(frozen=True)
class Facts:
    name: str
    kind: str
    codec: str
    width: int = 0
    height: int = 0
    config: bytes = b""
    bitrate_bps: int = 0


class Rung:
    def __init__(self, height: int, bitrate: int, profile: str = "baseline") -> None:
        self.width, self.height = height * 16 // 9 // 2 * 2, height
        codec: Any = av.CodecContext.create("libx264", "w")
        codec.width, codec.height, codec.pix_fmt = self.width, height, "yuv420p"
        codec.time_base, codec.framerate = Fraction(1, FPS), FPS
        codec.bit_rate = bitrate
        codec.options = {"preset": "ultrafast", "tune": "zerolatency", "profile": profile}
        codec.options |= {"forced-idr": "1", "x264-params": "keyint=250:scenecut=0"}
        self.codec = codec
        self.name = f"video/{height}p"
        y = np.add.outer(np.arange(height), np.arange(self.width)) % 200 + 20
        self.picture = np.vstack([y, np.full((height // 2, self.width), 128)]).astype(np.uint8)
        self.config = b""

    def encode(self, number: int, key: bool) -> list[Packet]:
        image = np.roll(self.picture, 3 * number, axis=1)
        image[self.height :] = 128 + (number % 50)
        frame = av.VideoFrame.from_ndarray(image, format="yuv420p")
        frame.pts, frame.time_base = number, Fraction(1, FPS)
        frame.pict_type = 1 if key else 0
        out = []
        for one in self.codec.encode(frame):
            pts = one.pts * 90_000 // FPS
            base = Fraction(1, 90_000)
            out.append(Packet(bytes(one), pts, pts, 0, base, one.is_keyframe, self.name))
        return out

    @property
    def facts(self) -> Facts:
        size = self.width, self.height
        return Facts(self.name, "video", "h264", *size, self.config, self.codec.bit_rate)


class Studio:
    """`channel.Playable`: one stream in real time from `start` to `stop`."""

    def __init__(
        self, *rungs: Rung, gop: int = 250, name: str = "show", sound: bool = True
    ) -> None:
        self.name = self.session = name
        self.over = False
        self.feed = Feed()
        self.asked: list[float] = []
        self.encoded: dict[int, float] = {}
        """By 90 kHz time, when its picture was encoded."""
        self._rungs = rungs
        self._gop = gop
        self._sound = sound
        self._key = threading.Event()
        self._stop = threading.Event()
        self.silent: set[str] = set()
        self.resting: set[str] = set()
        self.loop = asyncio.get_running_loop()
        for rung in rungs:
            rung.config = bytes(rung.encode(-1, True)[0].data)
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    @property
    def tracks(self) -> Sequence[Facts]:
        sound = [Facts("audio/opus", "audio", "opus")] if self._sound else []
        return [*(rung.facts for rung in self._rungs), *sound]

    def request_keyframe(self, reason: str) -> None:
        self.asked.append(time.monotonic())
        self._key.set()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()
        self.over = True
        self.feed.end()

    def _run(self) -> None:
        sound: Any = av.CodecContext.create("libopus", "w")
        sound.sample_rate, sound.layout, sound.format = 48_000, "stereo", "flt"
        sound.time_base = Fraction(1, 48_000)
        sound.open()
        samples = 0
        began = time.monotonic()
        number = 0
        while not self._stop.wait(max(0.0, began + number / FPS - time.monotonic())):
            key = number % self._gop == 0 or self._key.is_set()
            if key:
                self._key.clear()
            packets = []
            for rung in self._rungs:
                packets += rung.encode(number, key)
            while self._sound and samples < (number + 1) * 48_000 // FPS:
                packets += tone(sound, samples)
                samples += 960
            self.encoded[number * 90_000 // FPS] = time.monotonic()
            number += 1
            self.loop.call_soon_threadsafe(self._put, packets)

    def _put(self, packets: list[Packet]) -> None:
        for packet in packets:
            if packet.track not in self.silent:
                self.feed.put(packet)


def tone(codec: Any, samples: int) -> list[Packet]:
    wave = np.sin(2 * np.pi * 440 * (samples + np.arange(960)) / 48_000) * 0.4
    frame = av.AudioFrame.from_ndarray(
        np.repeat(wave.astype(np.float32), 2).reshape(1, -1), format="flt", layout="stereo"
    )
    frame.sample_rate, frame.pts, frame.time_base = 48_000, samples, Fraction(1, 48_000)
    return [
        Packet(bytes(one), one.pts, one.pts, 960, Fraction(1, 48_000), True, "audio/opus")
        for one in codec.encode(frame)
    ]


class Basket:
    """A sink that keeps what a publisher sends."""

    def __init__(self) -> None:
        self.tracks: list[Track] = []
        self.packets: list[tuple[Packet, float]] = []
        self.end: Ended | None = None

    def track(self, track: Track) -> None:
        self.tracks.append(track)

    def packet(self, packet: Packet) -> bool:
        self.packets.append((packet, time.monotonic()))
        return True

    def ended(self, end: Ended) -> None:
        self.end = end

    def of(self, track: str) -> list[Packet]:
        return [packet for packet, _ in self.packets if packet.track == track]


class Hub:
    """`app.Streams`: what plays, and what is published, by name."""

    def __init__(self, *shows: Studio) -> None:
        self.shows = {show.name: show for show in shows}
        self.baskets: dict[str, Basket] = {}
        self.publishers: dict[str, Publisher] = {}
        self.play_token: str | None = None
        self.publish_token: str | None = None

    async def find(self, name: str) -> Studio | None:
        return self.shows.get(name)

    async def may_play(self, viewer: Any) -> int | None:
        if self.play_token is None or viewer.token == self.play_token:
            return None
        return 401 if viewer.token is None else 403

    async def publish(self, publisher: Publisher) -> Sink:
        request = publisher.request
        if self.publish_token is not None and request.token != self.publish_token:
            raise Refused("this key may not publish here")
        self.publishers[request.stream] = publisher
        basket = self.baskets[request.stream] = Basket()
        return basket


class Answer:
    def __init__(self, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
        self.status = status
        self.headers = {key.decode(): value.decode() for key, value in headers}
        self.links = [value.decode() for key, value in headers if key == b"link"]
        self.text = body.decode()

    @property
    def problem(self) -> str:
        return str(json.loads(self.text)["detail"])


async def ask(
    app: Any,
    method: str,
    path: str,
    text: str = "",
    content_type: str = "application/sdp",
    **headers: str,
) -> Answer:
    """One request to an ASGI application, without a socket."""
    path, _, query = path.partition("?")
    names = [(k.replace("_", "-").encode(), v.encode()) for k, v in headers.items()]
    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "query_string": query.encode(),
        "headers": [(b"content-type", content_type.encode()), *names],
        "client": ("127.0.0.1", 1),
    }
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": text.encode(), "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    await app(scope, receive, send)
    body = b"".join(one.get("body", b"") for one in sent[1:])
    return Answer(sent[0]["status"], sent[0]["headers"], body)


class Relay(Basket):
    """What is published, played as it is (`channel.Playable`): no decoder, no encoder."""

    def __init__(self, publisher: Publisher) -> None:
        super().__init__()
        self.name = publisher.request.stream
        self.session = f"{self.name}-{id(self)}"
        self.over = False
        self.feed = Feed()
        self.asked = 0
        self._publisher = publisher

    @property
    def tracks_played(self) -> list[Facts]:
        out = []
        for track in self.tracks:
            if track.name == "video/0":
                size = (track.width, track.height)
                out = [Facts("video/source", "video", "h264", *size, track.extradata)]
        return [*out, Facts("audio/opus", "audio", "opus")] if out else []

    def packet(self, packet: Packet) -> bool:
        name = "video/source" if packet.track == "video/0" else "audio/opus"
        self.feed.put(replace(packet, track=name))
        return super().packet(packet)

    def ended(self, end: Ended) -> None:
        super().ended(end)
        self.over = True
        self.feed.end()

    def request_keyframe(self, reason: str) -> None:
        self.asked += 1
        line: Any = self._publisher._line
        line.request_keyframe()


class Played:
    """A relay as the application wants it: `tracks` are those that play."""

    def __init__(self, relay: Relay) -> None:
        self.name, self.session, self.feed = relay.name, relay.session, relay.feed
        self._relay = relay
        self.resting: set[str] = set()

    @property
    def over(self) -> bool:
        return self._relay.over

    @property
    def tracks(self) -> list[Facts]:
        return self._relay.tracks_played

    def request_keyframe(self, reason: str) -> None:
        self._relay.request_keyframe(reason)


class RelayHub(Hub):
    """Everything that is published plays."""

    async def find(self, name: str) -> Any:
        relay = self.baskets.get(name)
        return Played(relay) if isinstance(relay, Relay) else await super().find(name)

    async def publish(self, publisher: Publisher) -> Sink:
        await super().publish(publisher)
        relay = self.baskets[publisher.request.stream] = Relay(publisher)
        return relay
