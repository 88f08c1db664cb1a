"""NVDEC: does it decode each codec, to the very pixels that the processor gives?"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import av
import numpy as np
from av.codec.hwaccel import HWAccel
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame

from streamgen.control.probes.codecs import try_each

CODECS = {"h264": "libx264", "hevc": "libx265", "vp9": "libvpx-vp9", "av1": "libsvtav1"}
"""What is decoded, and what makes a clip of it."""
SIZE_PX = 256
PICTURES = 3


def decode(codec: str) -> None:
    """Raises `FFmpegError` where it does not, `ValueError` where it does it wrongly."""
    device = HWAccel("cuda", allow_software_fallback=False)
    decoder = av.CodecContext.create(codec, "r", hwaccel=device)
    assert isinstance(decoder, VideoCodecContext)
    clip = encoded(CODECS[codec])
    got = pictures(decoder, clip)
    if not decoder.is_hwaccel:
        raise ValueError("libavcodec decodes it on the processor")
    wanted = pictures(av.CodecContext.create("libdav1d" if codec == "av1" else codec, "r"), clip)
    if len(got) != PICTURES or not all(map(np.array_equal, got, wanted)):
        raise ValueError("gives other pixels than the processor")


def encoded(encoder: str) -> Sequence[Any]:
    """Packets of a few pictures, the last one empty: it flushes."""
    context = av.CodecContext.create(encoder, "w")
    assert isinstance(context, VideoCodecContext)
    context.width = context.height = SIZE_PX
    context.pix_fmt, context.time_base = "yuv420p", Fraction(1, 25)
    if encoder == "libx265":
        context.options = {"x265-params": "log-level=none"}
    packets: list[Any] = []
    for number in range(PICTURES):
        frame = VideoFrame(SIZE_PX, SIZE_PX, "yuv420p")
        for index, plane in enumerate(frame.planes):
            shade = np.arange(plane.buffer_size) * (index + 1) // 7 + 40 * number
            plane.update((shade % 200 + 20).astype(np.uint8).tobytes())
        frame.pts = number
        packets += context.encode(frame)
    return [*packets, *context.encode(None), None]


def pictures(decoder: Any, packets: Sequence[Any]) -> list[Any]:
    """The luma of each."""
    frames = [frame for packet in packets for frame in decoder.decode(packet)]
    return [frame.to_ndarray(format="yuv420p")[:SIZE_PX] for frame in frames]


if __name__ == "__main__":
    try_each(CODECS, decode)
