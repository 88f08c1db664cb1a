"""Shells: `av.VideoFrame` objects over planes that belong to somebody else, and the way back.

libavcodec and swscale write into the frame object they are given (times, picture type, colour
tags), so nobody shares one: every reader of a `Frame` makes its own shell. The pixels are never
copied; the shell keeps the planes' owners alive for as long as libav holds a reference.
"""

from __future__ import annotations

import av

from streamgen.errors import ConfigError
from streamgen.media.frame import CPU, Frame, Layout, Plane, plane_shapes


def shell(frame: Frame) -> av.VideoFrame:
    """Lend the planes of a host frame to libav.

    Waits for `frame.ready`. Sizes are even; odd ones are padded before (`ladder.py`). Raises
    `ConfigError` for a frame that is not in host memory.
    """
    if frame.device.type != "cpu":
        raise ConfigError(f"libav reads host memory, the picture is on {frame.device}")
    if frame.ready is not None:
        frame.ready.wait()
    return av.VideoFrame.from_dlpack(
        frame.planes, format=frame.layout.value, width=frame.width, height=frame.height
    )


def unwrap(picture: av.VideoFrame, like: Frame) -> Frame:
    """The frame over a picture made by libav, with the times and tags of `like`."""
    layout = Layout(picture.format.name)
    shapes = plane_shapes(layout, picture.width, picture.height)
    dtype = "uint16" if layout is Layout.P010 else "uint8"
    planes = tuple(
        Plane(plane.buffer_ptr, shape, plane.line_size, dtype, CPU, plane)
        for plane, shape in zip(picture.planes, shapes, strict=True)
    )
    return like.retimed(
        planes=planes,
        layout=layout,
        width=picture.width,
        height=picture.height,
        ready=None,
    )
