"""What a camera and an encoder do to a picture: slow pan, a little noise, H.264.

Each still becomes a short clip that moves a few pixels per frame, is coded by x264 at a constant
rate factor, and one of its later frames is kept together with the clean one. Inter-coded frames
have other faults than key frames; a moving still gives both.
"""

from __future__ import annotations

import av
import numpy as np
import numpy.typing as npt
from planes import as_bytes, from_rgb

Bytes = npt.NDArray[np.uint8]
Triple = tuple[Bytes, Bytes, Bytes]
FRAMES = 6
MARGIN_PX = 16


def _frame(parts: Triple) -> av.VideoFrame:
    """The planes as a yuv420p frame; its rows may be padded."""
    frame = av.VideoFrame(parts[0].shape[1], parts[0].shape[0], "yuv420p")
    for plane, part in zip(frame.planes, parts, strict=True):
        rows = np.zeros((plane.height, plane.line_size), np.uint8)
        rows[:, : plane.width] = part
        plane.update(rows.tobytes())
    return frame


def _planes(frame: av.VideoFrame) -> Triple:
    found = []
    for plane in frame.planes:
        rows = np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)
        found.append(rows[:, : plane.width].copy())
    return found[0], found[1], found[2]


def through_x264(clip: list[Triple], rate_factor: int, preset: str) -> list[Triple]:
    """Encode and decode the frames in memory."""
    encoder = av.CodecContext.create("libx264", "w")
    encoder.height, encoder.width = clip[0][0].shape
    encoder.pix_fmt = "yuv420p"
    encoder.framerate = 25
    encoder.time_base = 1 / encoder.framerate
    encoder.options = {"crf": str(rate_factor), "preset": preset, "threads": "1"}
    decoder = av.CodecContext.create("h264", "r")
    decoder.thread_count = 1
    found: list[Triple] = []
    packets = []
    for number, parts in enumerate(clip):
        frame = _frame(parts)
        frame.pts = number
        packets += encoder.encode(frame)
    packets += encoder.encode(None)
    for packet in [*packets, None]:
        found += [_planes(frame) for frame in decoder.decode(packet)]
    return found


def coded(
    rgb: npt.NDArray[np.float32],
    rate_factor: int,
    seed: int,
    *,
    preset: str = "veryfast",
    noise: float = 0.0,
) -> tuple[Triple, Triple]:
    """Clean and coded planes of one frame; `noise` is camera noise in code values.

    The result is smaller than `rgb` by the pan's margin; sides are multiples of 8.
    """
    rng = np.random.default_rng(seed)
    height, width = ((side - MARGIN_PX) // 8 * 8 for side in rgb.shape[:2])
    step = rng.integers(-1, 2, 2) * 2
    start = np.where(step < 0, MARGIN_PX - 4, 0)
    clip: list[Triple] = []
    clean: list[Triple] = []
    for number in range(FRAMES):
        top, left = (int(p) for p in np.clip(start + number * step, 0, MARGIN_PX))
        parts = from_rgb(rgb[top : top + height, left : left + width])
        clean.append(tuple(as_bytes(p) for p in parts))  # type: ignore[arg-type]
        noisy = [p + noise * rng.standard_normal(p.shape).astype(np.float32) for p in parts]
        clip.append(tuple(as_bytes(p) for p in noisy))  # type: ignore[arg-type]
    kept = int(rng.integers(0, FRAMES))
    return clean[kept], through_x264(clip, rate_factor, preset)[kept]
