"""HE-AAC by a real encoder: six beeps of noise and 1 kHz, as FLV with a flash at each.

The encoders of ffmpeg and GStreamer here make AAC-LC only. The recordings beside this file are of
fdk-aac 2.0.3 (`aac-enc -t 5 -r 32000` and `-t 29 -r 20000`): 24 kHz and spectral band replication
above it; version 2 is mono with parametric stereo.
"""

from __future__ import annotations

import io
import itertools
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from tests.live.tapes import AUDIO, RATE, SIZE, Tag, tags_of

RATE_HZ = 48_000
SAMPLES = 2048
"""Of a frame, after replication."""
CONFIGS = {
    "implicit": ("he-aac", "1310"),
    "explicit": ("he-aac", "2b118800"),
    "explicit behind": ("he-aac", "131056e598"),
    "v2 implicit": ("he-aac-v2", "1308"),
    "v2 explicit": ("he-aac-v2", "eb098800"),
    "v2 explicit behind": ("he-aac-v2", "130856e59d4880"),
}
"""Recording and AudioSpecificConfig (ISO/IEC 14496-3 1.6.5): 24 kHz AAC-LC that says nothing of the
replication, that says it before, and that says it behind where old decoders do not look."""
ADTS_HEADER = 7


def frames(recording: str) -> list[bytes]:
    """Raw frames."""
    data = Path(__file__).with_name(f"{recording}.adts").read_bytes()
    out, at = [], 0
    while at < len(data):
        size = (data[at + 3] & 3) << 11 | data[at + 4] << 3 | data[at + 5] >> 5
        out.append(data[at + ADTS_HEADER : at + size])
        at += size
    return out


def decoded(recording: str, config: str) -> np.ndarray[Any, Any]:
    """Left channel as libavcodec gives it."""
    context: Any = av.CodecContext.create("aac", "r")
    context.extradata = bytes.fromhex(config)
    blocks = [f for one in frames(recording) for f in context.decode(av.Packet(one))]
    assert {block.sample_rate for block in blocks} == {RATE_HZ}
    return np.concatenate([block.to_ndarray()[0] for block in blocks])


def onsets(sound: np.ndarray[Any, Any], rate_hz: int = RATE_HZ) -> list[float]:
    """Where beeps begin, in seconds."""
    loud = np.flatnonzero(np.abs(sound) > 0.08) / rate_hz
    return [loud[0], *(b for a, b in itertools.pairwise(loud) if b - a > 0.2)]


def clap(name: str) -> list[Tag]:
    """One of the `CONFIGS`, and pictures that are white while it beeps."""
    recording, config = CONFIGS[name]
    raw, beeps = frames(recording), onsets(decoded(recording, config))
    out = [Tag(AUDIO, 0, b"\xaf\0" + bytes.fromhex(config))]
    out += [
        Tag(AUDIO, round(1000 * n * SAMPLES / RATE_HZ), b"\xaf\1" + one)
        for n, one in enumerate(raw)
    ]
    flashes = {round(at * RATE) for at in beeps}
    out += _pictures(len(raw) * SAMPLES * RATE // RATE_HZ, flashes)
    return sorted(out, key=lambda tag: tag.at_ms)


def _pictures(count: int, flashes: set[int]) -> Iterator[Tag]:
    file = io.BytesIO()
    with av.open(file, "w", format="flv") as sink:
        video: Any = sink.add_stream("libx264", rate=RATE)
        video.width, video.height, video.pix_fmt = *SIZE, "yuv420p"
        video.options = {"preset": "ultrafast", "tune": "zerolatency", "g": "25"}
        for number in range(count):
            image = np.full((SIZE[1] * 3 // 2, SIZE[0]), 128, np.uint8)
            image[: SIZE[1]] = 235 if number in flashes else 32
            frame = av.VideoFrame.from_ndarray(image, "yuv420p")
            frame.pts, frame.time_base = number, Fraction(1, RATE)
            sink.mux(video.encode(frame))
        sink.mux(video.encode(None))
    yield from tags_of(file.getvalue())
