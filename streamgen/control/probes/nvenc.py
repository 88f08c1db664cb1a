"""NVENC: does it encode each codec, to something that decodes to the same picture?

A GPU may have none (A100, H100, H200), and a library that knows it says nothing of that.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import av
import numpy as np
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame

from streamgen.control.probes.codecs import try_each

DECODERS = {"h264": "h264", "hevc": "hevc", "av1": "libdav1d"}
"""What is encoded by the encoder `CODEC_nvenc`, and what decodes it on the processor."""
SIZE_PX = 256
"""NVENC refuses very small pictures."""
SHADE = 90
CLOSE = 4
"""Code values that a flat picture may lose."""


def encode(codec: str) -> None:
    """Raises `FFmpegError` where it does not, `ValueError` where it does it wrongly."""
    encoder = av.CodecContext.create(f"{codec}_nvenc", "w")
    assert isinstance(encoder, VideoCodecContext)
    encoder.width = encoder.height = SIZE_PX
    encoder.pix_fmt, encoder.time_base = "nv12", Fraction(1, 25)
    frame = VideoFrame(SIZE_PX, SIZE_PX, "nv12")
    for plane in frame.planes:
        plane.update(bytes([SHADE]) * plane.buffer_size)
    frame.pts = 0
    packets: list[Any] = [*encoder.encode(frame), *encoder.encode(None), None]
    decoder: Any = av.CodecContext.create(DECODERS[codec], "r")
    shown = [picture for packet in packets for picture in decoder.decode(packet)]
    if not shown or np.abs(shown[0].to_ndarray().astype(int) - SHADE).max() > CLOSE:
        raise ValueError("gives another picture than it was given")


if __name__ == "__main__":
    try_each(DECODERS, encode)
