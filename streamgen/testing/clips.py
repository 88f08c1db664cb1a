"""Pictures and clips made on the spot: real codecs, known content."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from streamgen.media.frame import Frame, Layout, Plane, plane_shapes


def picture(width: int, height: int, seed: int = 0) -> Frame:
    """A frame of smooth shapes with some texture, the same for the same arguments."""
    random = np.random.default_rng(seed)
    planes = []
    for rows, columns in plane_shapes(Layout.I420, width, height):
        y, x = np.mgrid[0:rows, 0:columns]
        waves = np.sin(x / 9.0 + seed) + np.cos(y / 7.0 - seed) + np.sin((x + y) / 23.0)
        noise = random.integers(-6, 7, (rows, columns))
        planes.append(np.clip(128 + 30 * waves + noise, 16, 235).astype(np.uint8))
    return frame_of(planes)


def frame_of(planes: Sequence[NDArray[np.uint8]], *, pts: int = 0, rate: int = 25) -> Frame:
    """An I420 frame over three arrays, which it keeps alive."""
    return Frame(
        planes=tuple(Plane.of(plane) for plane in planes),
        layout=Layout.I420,
        width=planes[0].shape[1],
        height=planes[0].shape[0],
        pts=pts,
        time_base=Fraction(1, rate),
        duration=1,
    )


def synthetic_clip(
    path: Path,
    *,
    width: int = 320,
    height: int = 240,
    frames: int = 50,
    rate: int = 25,
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    gop: int = 25,
    b_frames: int = 0,
    audio: str | None = "aac",
    audio_s: float | None = None,
    audio_start_s: float = 0.0,
    pts: Sequence[int] | None = None,
    time_base: Fraction | None = None,
    options: dict[str, str] | None = None,
    container_options: dict[str, str] | None = None,
) -> Path:
    """Write a real clip: moving shapes and a click once a second, flash and click together.

    `pts` gives times (in `time_base`) for variable frame rates; `audio_s` another audio length,
    `audio_start_s` another start (no click then stands at a flash).
    """
    with av.open(os.fspath(path), "w", options=container_options or {}) as container:
        video: Any = container.add_stream(codec, rate=rate, options=options or {})
        video.width, video.height, video.pix_fmt = width, height, pix_fmt
        video.gop_size = gop
        video.codec_context.time_base = time_base or Fraction(1, rate)
        if codec == "libx264":
            video.codec_context.options = {
                "preset": "ultrafast",
                "bf": str(b_frames),
                "x264-params": f"keyint={gop}:min-keyint=1:scenecut=0",
                **(options or {}),
            }
        sound: Any = None
        if audio is not None:
            sound = container.add_stream(audio, rate=48_000, layout="mono")
        for number in range(frames):
            shell = _drawn(number, width, height, rate).reformat(format=pix_fmt)
            shell.pts = number if pts is None else pts[number]
            shell.time_base = time_base or Fraction(1, rate)
            container.mux(video.encode(shell))
        container.mux(video.encode(None))
        if sound is not None:
            length_s = frames / rate if audio_s is None else audio_s
            for block in _clicks(length_s, sound.codec_context.frame_size or 1024, audio_start_s):
                container.mux(sound.encode(block))
            container.mux(sound.encode(None))
    return path


def _drawn(number: int, width: int, height: int, rate: int) -> av.VideoFrame:
    y, x = np.mgrid[0:height, 0:width]
    shift = 3 * number
    luma = 110 + 60 * np.sin((x + shift) / 17.0) * np.cos((y - number) / 13.0)
    if number % rate == 0:
        luma[: max(height // 4, 1)] = 235
    chroma = [
        128 + 40 * np.sin((x[::2, ::2] + k * shift) / (29.0 + k)) * math.cos(number / 20 + k)
        for k in (0, 1)
    ]
    planes = tuple(np.clip(p, 16, 235).astype(np.uint8) for p in (luma, *chroma))
    if width % 2 or height % 2:
        rgb = np.repeat(planes[0][:, :, None], 3, axis=2)
        return av.VideoFrame.from_ndarray(np.ascontiguousarray(rgb), format="rgb24")
    return av.VideoFrame.from_dlpack(planes, format="yuv420p", width=width, height=height)


def _clicks(length_s: float, block: int, start_s: float) -> Iterator[av.AudioFrame]:
    total = round(length_s * 48_000)
    at = np.arange(total)
    tone = 0.05 * np.sin(at * (2 * np.pi * 220 / 48_000))
    tone += np.where(at % 48_000 < 480, 0.7 * np.sin(at * (2 * np.pi * 1000 / 48_000)), 0.0)
    samples = tone.astype(np.float32)
    for start in range(0, total, block):
        part = np.ascontiguousarray(samples[start : start + block][None])
        frame = av.AudioFrame.from_ndarray(part, format="fltp", layout="mono")
        frame.sample_rate = 48_000
        frame.pts = start + round(start_s * 48_000)
        frame.time_base = Fraction(1, 48_000)
        yield frame
