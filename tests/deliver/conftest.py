"""Real encoders for the outputs' tests: packets of small rungs and of sound, made once."""

from __future__ import annotations

import json
import os
import shutil
import struct
import subprocess
from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from streamgen.media.packet import Packet
from streamgen.media.tracks import EncodedTrack
from streamgen.protocols import Outlet

CLOCK_HZ = 90_000
RATE = 25
SECONDS = 6
GLOBAL_HEADER = 0x400000


@dataclass(frozen=True)
class Encoded:
    """A track and everything its encoder gave."""

    track: EncodedTrack
    packets: tuple[Packet, ...]

    @property
    def shown(self) -> list[int]:
        """Presentation times in order."""
        return sorted(p.pts for p in self.packets if p.pts is not None)


def encode_video(
    name: str = "video/120p",
    *,
    size: tuple[int, int] = (160, 120),
    codec: str = "libx264",
    options: dict[str, str] | None = None,
    times: Sequence[int] | None = None,
    key_every: int = 50,
    keys: Container[int] | None = None,
    **facts: Any,
) -> Encoded:
    """Encode moving pictures; `times` are presentation times in 1/90000 s, `keys` those of the key
    frames, where they are not at even distances."""
    step = round(CLOCK_HZ / (facts.get("rate") or RATE))
    times = range(0, SECONDS * CLOCK_HZ, step) if times is None else times
    null = av.open(os.devnull, "w", format="null")
    stream: Any = null.add_stream(codec, rate=RATE)
    context = stream.codec_context
    context.width, context.height, context.pix_fmt = *size, "yuv420p"
    context.time_base = Fraction(1, CLOCK_HZ)
    context.bit_rate = 200_000
    context.flags |= GLOBAL_HEADER
    if "sar" in facts:
        context.sample_aspect_ratio = facts["sar"]
    default = {"preset": "veryfast", "bf": "2", "x264-params": "keyint=9999:scenecut=0"}
    context.options = {"forced-idr": "1", **default} if options is None else options
    null.start_encoding()
    raw = []
    for number, pts in enumerate(times):
        shell = _picture(number, *size)
        shell.pts, shell.time_base = pts, Fraction(1, CLOCK_HZ)
        begins = number % key_every == 0 if keys is None else pts in keys
        shell.pict_type = 1 if begins else 0
        raw += context.encode(shell)
    raw += context.encode(None)
    track = EncodedTrack(
        name=name,
        kind="video",
        codec=stream.codec_context.codec.canonical_name,
        time_base=Fraction(1, CLOCK_HZ),
        template=stream,
        width=size[0],
        height=size[1],
        bitrate_bps=200_000,
        **{"rate": Fraction(RATE), **facts},
    )
    return Encoded(track, tuple(_packet(p, name, step) for p in raw))


def encode_audio(
    name: str = "audio/0",
    *,
    codec: str = "aac",
    seconds: float = SECONDS,
    start_s: float = 0.0,
    **facts: Any,
) -> Encoded:
    """Encode a tone that starts at `start_s`."""
    rate_hz = 48_000
    null = av.open(os.devnull, "w", format="null")
    stream: Any = null.add_stream(codec, rate=rate_hz, layout="stereo")
    context = stream.codec_context
    context.flags |= GLOBAL_HEADER
    null.start_encoding()
    size = context.frame_size or 1024
    tone = 0.2 * np.sin(2 * np.pi * 440 * np.arange(round(seconds * rate_hz)) / rate_hz)
    raw = []
    for start in range(0, len(tone), size):
        part = np.stack([tone[start : start + size]] * 2)
        if context.format.name == "s16":
            part = (part * 32767).T.reshape(1, -1)
        kind = np.int16 if context.format.name == "s16" else np.float32
        block = np.ascontiguousarray(part.astype(kind))
        shell = av.AudioFrame.from_ndarray(block, format=context.format.name, layout="stereo")
        shell.sample_rate = rate_hz
        shell.pts, shell.time_base = start + round(start_s * rate_hz), Fraction(1, rate_hz)
        raw += context.encode(shell)
    raw += context.encode(None)
    track = EncodedTrack(
        name=name,
        kind="audio",
        codec=context.codec.canonical_name,
        time_base=Fraction(1, rate_hz),
        template=stream,
        bitrate_bps=128_000,
        rate_hz=rate_hz,
        channels=2,
        priming=1024,
        **facts,
    )
    return Encoded(track, tuple(_packet(p, name, 0) for p in raw))


def _packet(raw: Any, name: str, duration: int) -> Packet:
    return Packet(
        data=raw,
        pts=raw.pts,
        dts=raw.dts,
        duration=raw.duration or duration,
        time_base=raw.time_base,
        keyframe=raw.is_keyframe,
        track=name,
    )


def _picture(number: int, width: int, height: int) -> av.VideoFrame:
    luma = np.full((height, width), 60 + number % 100, np.uint8)
    luma[:, (3 * number) % width :][:, :20] = 200
    chroma = np.full((height // 2, width // 2), 100 + number % 50, np.uint8)
    planes = (luma, chroma, chroma.copy())
    return av.VideoFrame.from_dlpack(planes, format="yuv420p", width=width, height=height)


def feed(outlet: Outlet, *parts: Encoded, until_s: float = 1e9) -> None:
    """Give an opened outlet the packets of all tracks, mixed in decoding order."""
    mixed = [packet for part in parts for packet in part.packets]
    mixed.sort(key=lambda p: (p.dts or 0) * p.time_base)
    for packet in mixed:
        if packet.time_s < until_s:
            outlet.write(packet)


def deliver(outlet: Outlet, *parts: Encoded) -> None:
    """The whole life of an outlet."""
    outlet.open([part.track for part in parts])
    feed(outlet, *parts)
    outlet.finish()


@pytest.fixture(scope="session")
def rungs() -> tuple[Encoded, Encoded, Encoded]:
    """Three aligned rungs whose encoders reorder differently."""
    plain = {"preset": "veryfast", "forced-idr": "1", "x264-params": "keyint=9999:scenecut=0"}
    return (
        encode_video("video/120p", size=(160, 120)),
        encode_video("video/96p", size=(128, 96), options={**plain, "bf": "3"}),
        encode_video("video/48p", size=(64, 48), options={**plain, "bf": "0"}),
    )


@pytest.fixture(scope="session")
def video(rungs: tuple[Encoded, ...]) -> Encoded:
    return rungs[0]


@pytest.fixture(scope="session")
def sound() -> Encoded:
    return encode_audio(language="deu", title="Original")


@pytest.fixture(scope="session")
def probe() -> Callable[..., dict[str, Any]]:
    """The system's ffprobe, an independent reader: `probe(path, "-show_streams")`."""
    if shutil.which("ffprobe") is None:
        pytest.skip("ffprobe is not installed")

    def run(path: Path, *show: str) -> dict[str, Any]:
        command = ["ffprobe", "-v", "error", "-of", "json", *show, f"file:{path}"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
        assert done.returncode == 0 and not done.stderr, done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    return run


def boxes(data: bytes, *path: str) -> Iterator[bytes]:
    """Payloads of the MP4 boxes at `path`: `boxes(data, "moov", "trak", "mdia")`."""
    at = 0
    while at + 8 <= len(data):
        size, kind = struct.unpack_from(">I4s", data, at)
        if kind.decode("latin-1") == path[0]:
            payload = data[at + 8 : at + size]
            if len(path) == 1:
                yield payload
            else:
                yield from boxes(payload, *path[1:])
        at += size


def box_order(data: bytes) -> list[str]:
    """Types of the boxes on the top level."""
    kinds = []
    at = 0
    while at + 8 <= len(data):
        size, kind = struct.unpack_from(">I4s", data, at)
        kinds.append(kind.decode("latin-1"))
        at += size
    return kinds
