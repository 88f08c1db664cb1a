from __future__ import annotations

from fractions import Fraction
from typing import Any

import av
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamgen_edge.rtmp.sizes import picture_size

from .client import SPS

GLOBAL_HEADER = 0x400000


def encoded_sps(encoder: str, width: int, height: int, pix_fmt: str, **options: str) -> bytes:
    """The SPS that a real encoder writes."""
    context: Any = av.CodecContext.create(encoder, "w")
    context.width, context.height, context.pix_fmt = width, height, pix_fmt
    context.time_base = Fraction(1, 25)
    context.options = options
    context.flags |= GLOBAL_HEADER
    context.open()
    kinds = (0x67, 0x42)
    found = bytes(context.extradata or b"").replace(b"\0\0\0\1", b"\0\0\1").split(b"\0\0\1")
    return next(unit for unit in found if unit and unit[0] in kinds)


@pytest.mark.parametrize(
    ("width", "height", "pix_fmt", "options"),
    [
        (320, 240, "yuv420p", {}),
        (1920, 1080, "yuv420p", {"profile": "baseline"}),
        (640, 360, "yuv420p", {"x264-params": "interlaced=1"}),
        (322, 242, "yuv444p", {}),
        (322, 242, "yuv422p", {}),
        (854, 480, "yuv420p", {"x264-params": "cqm=jvt"}),
    ],
)
def test_the_size_in_an_h264_sps_is_read(
    width: int, height: int, pix_fmt: str, options: dict[str, str]
) -> None:
    sps = encoded_sps("libx264", width, height, pix_fmt, preset="ultrafast", **options)
    assert picture_size("h264", sps) == (width, height)


@pytest.mark.parametrize(("width", "height"), [(320, 240), (1920, 1080), (854, 482)])
def test_the_size_in_an_hevc_sps_is_read(width: int, height: int) -> None:
    params = {"preset": "ultrafast", "x265-params": "log-level=none"}
    sps = encoded_sps("libx265", width, height, "yuv420p", **params)
    assert picture_size("hevc", sps) == (width, height)


@given(data=st.binary(max_size=60), codec=st.sampled_from(["h264", "hevc"]))
def test_an_sps_that_cannot_be_read_has_no_size(data: bytes, codec: str) -> None:
    width, height = picture_size(codec, data)
    assert (width, height) == (0, 0) or 0 < width <= 65_536 >= height > 0


def test_an_sps_that_is_cut_has_no_size() -> None:
    assert picture_size("h264", SPS[:6]) == (0, 0)
