"""What players ask of HLS, workers say on the link, and people write in files; and the times that
publishers claim."""

from __future__ import annotations

import asyncio
import math
import tempfile
from contextlib import suppress
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from streamgen.control.wire import decoded, encoded
from streamgen.errors import ConfigError
from streamgen.media.envelope import HEADER_BYTES, LinkError, opened, seal
from streamgen.media.packet import Packet
from streamgen.pipeline import load_pipeline, parse_pipeline
from streamgen.plugins import pipeline_files
from streamgen.telemetry import Telemetry
from streamgen_edge.hls import hls_app
from streamgen_edge.settings import load_server
from streamgen_edge.timeline import BASE, LiveTimeline
from tests.deliver.live_packets import live_audio, live_video
from tests.edge.hls.conftest import SESSION, everybody, packaged
from tests.fuzz.target import Draws, Target, sized

NS = 1_000_000_000
_ANSWERS = {200, 204, 206, 304, 400, 404, 405, 410, 416, 503}
_HEADERS = (b"range", b"if-none-match", b"accept-encoding", b"authorization", b"host")


@cache
def _app() -> Any:
    lines = [live_video(seconds=3), live_audio(seconds=3)]
    over, live = packaged(lines, until_s=9), packaged(lines, until_s=9)
    over.end()
    return hls_app({"over": over, "live": live}, everybody)


def hls(data: bytes) -> None:
    """One request of a player that goes at once when it is to wait."""
    draws = Draws(data)
    method = ("GET", "HEAD", "OPTIONS", "POST")[draws.number(1) & 3]
    path, query = draws.sized(), draws.sized()
    headers = [(name, draws.sized()) for name in _HEADERS]
    scope = {
        "type": "http",
        "method": method,
        "path": path.decode("utf-8", "replace"),
        "query_string": query,
        "headers": [pair for pair in headers if pair[1]],
        "client": ("192.0.2.1", 5),
    }
    status, said, body = asyncio.run(_asked(scope))
    assert status in _ANSWERS, status
    if method != "HEAD" and b"content-length" in said:
        assert int(said[b"content-length"]) == len(body)


async def _asked(scope: dict[str, Any]) -> tuple[int, dict[bytes, bytes], bytes]:
    sent: list[Any] = []

    async def gone() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    await _app()(scope, gone, send)
    head, *bodies = sent
    return head["status"], dict(head["headers"]), b"".join(one["body"] for one in bodies)


def envelope(data: bytes) -> None:
    read = opened(data[:HEADER_BYTES], data[HEADER_BYTES:])
    packet = read.packet
    assert packet.duration >= 0 and packet.time_base > 0 and packet.size_bytes <= len(data)
    for at in (packet.pts, packet.dts):
        assert at is None or math.isfinite(float(at * packet.time_base))
    again = seal(
        packet, stream=read.stream, term=read.term, track=read.track, kind=read.kind,
        received_ns=read.received_ns,
    )  # fmt: skip
    assert opened(again, packet.data) == read


def control(data: bytes) -> None:
    message = decoded(data)
    assert isinstance(message["type"], str)
    numbers = [value for value in message.values() if isinstance(value, float)]
    assert all(map(math.isfinite, numbers))
    with suppress(UnicodeEncodeError, RecursionError):
        assert decoded(encoded(message)) == message


@cache
def _file() -> Path:
    return Path(tempfile.mkdtemp(prefix="streamgen-fuzz-")) / "file.yaml"


def server(data: bytes) -> None:
    _file().write_bytes(data)
    read = load_server(_file(), {})
    for name in ("cam", "a" * 64, "../x", ""):
        read.stream(name)
    with suppress(UnicodeDecodeError, UnicodeEncodeError):
        load_server(None, {"STREAMGEN_STREAMS": data.decode(), "STREAMGEN_HTTP__PORT": "0"})


def pipeline(data: bytes) -> None:
    """A file; and the same as plain values, as the API has them from JSON."""
    _file().write_bytes(data)
    try:
        load_pipeline(str(_file())).plan()
    finally:
        with suppress(yaml.YAMLError, ValueError, RecursionError):
            value = yaml.safe_load(data)
            if isinstance(value, dict):
                with suppress(ConfigError):
                    parse_pipeline(value)


_BASES = (Fraction(1, 1000), BASE, Fraction(1, 48_000))


def timeline(data: bytes) -> None:
    """Times of several publishers: the decoding times of a track rise within an epoch, nothing is
    shown before it is decoded, and none goes back to a former epoch."""
    draws = Draws(data)
    line = LiveTimeline(Telemetry())
    line.arrive()
    now = 0
    last: dict[str, tuple[int, int]] = {}
    """By track: its latest epoch, and its last decoding time there."""
    while draws:
        what = draws.number(1)
        now += draws.number(1) * 10_000_000
        if what & 0xF0 == 0xF0:
            line.arrive()
            if not line.begun:  # of what came before, nothing was shown
                last.clear()
            continue
        if what & 0xF0 == 0xE0 and not line.begun:
            line.begin(now)
            last.clear()
            continue
        kind = ("video", "audio")[what & 1]
        width = 1 + (what >> 1 & 7)
        dts = int.from_bytes(draws.take(width), "big", signed=True)
        offset = draws.number(1) * 40 if what & 16 else 0
        base = _BASES[1 if kind == "video" and what & 32 else 2 * (what >> 5 & 1)]
        name = f"{kind}/{base.denominator}"
        limit = (1 << 61) - (1 << 20)
        dts = max(-limit, min(limit, dts))
        mended = line.mend(Packet(b"x", dts + offset, dts, 0, base, not last, name), now)
        assert mended.dts is not None and mended.pts is not None
        assert mended.pts >= mended.dts and mended.time_base == BASE
        epoch, before = last.get(name, (mended.epoch, mended.dts - 1))
        assert mended.epoch >= epoch, (name, mended.epoch, epoch)
        assert mended.epoch > epoch or mended.dts > before, (name, mended.dts, before)
        last[name] = mended.epoch, mended.dts


# What honest ones send.


def _requests() -> list[bytes]:
    place = f"/hls/over/{SESSION}/90p/"
    said = [
        (b"\0", b"/hls/over/index.m3u8", b"token=a%20b"),
        (b"\0", b"/hls/live/index.m3u8", b""),
        *((b"\0", f"{place}{file}".encode(), query) for file, query in _FILES),
        *((b"\1", f"{place.replace('over', 'live')}{file}".encode(), q) for file, q in _FILES),
    ]
    heads = sized(b"bytes=0-99", b'"x"', b"gzip", b"Bearer a", b"localhost")
    return [method + sized(path, query) + heads for method, path, query in said]


_FILES = (
    ("index.m3u8", b"_HLS_msn=1&_HLS_part=0&_HLS_skip=YES"),
    ("index.m3u8", b""),
    ("0.m4s", b""),
    ("1.0.m4s", b""),
    ("init.mp4", b""),
)


def _envelopes() -> list[bytes]:
    packet = Packet(b"data", 90_000, 90_000, 3000, BASE, True, "", 1)
    return [seal(packet, stream=1, term=2, track=0, received_ns=5) + b"data"]


_SERVER = b"""
http: {listen: 127.0.0.1:8080, tls: {cert: , key: }}
rtmp: {port: 1936}
webrtc: {listen: [127.0.0.1], udp_ports: 50000-50100, ice_servers: ["stun:a:1"]}
auth: {publish_keys: {ann: secret}, admin_keys: {me: other}}
hls: {part: 333ms, window: 30s}
workers: 2
streams:
  "cam-*": {pipeline: starry, publish: [ann], play: anyone, grace: 5s, limits: {bitrate: 8M}}
  "*": {publish: anyone}
"""


def _times() -> list[bytes]:
    step = b"".join(bytes([0x12, 4]) + (40 * n).to_bytes(2, "big") + b"\1" for n in range(1, 9))
    sound = b"".join(bytes([0x03, 2]) + (23 * n).to_bytes(2, "big") for n in range(1, 9))
    return [step + sound + b"\xe0\1" + step + b"\xf0\5" + step + sound]


TARGETS = [
    Target("hls", hls, seeds=_requests),
    Target("envelope", envelope, (LinkError,), _envelopes),
    Target("control", control, (LinkError,), lambda: [b'{"type":"credit","bytes":5,"ms":1.5}']),
    Target("server", server, (ConfigError,), lambda: [_SERVER]),
    Target(
        "pipeline", pipeline, (ConfigError,),
        lambda: [path.read_bytes() for path in pipeline_files().values()],
    ),
    Target("timeline", timeline, seeds=_times),
]  # fmt: skip
