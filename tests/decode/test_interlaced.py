"""Interlaced H.264, as field pairs (PAFF) and as field macroblocks (MBAFF), becomes progressive."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import Any

import av
import numpy as np
import pytest
from av.filter import Graph

from streamgen.decode.ffmpeg import FFmpegDecoder
from streamgen.ingest.link import probe
from streamgen.media.frame import Frame
from streamgen.media.packet import Packet
from streamgen.media.pool import FramePool
from streamgen.telemetry import Telemetry
from tests.decode import fields

PICTURES = 30
RATE = Fraction(25)
BASE = 1 / RATE / 2
"""Ticks of a field."""


def coded(units: Sequence[bytes], pts: int, *, key: bool = False, dts: int | None = None) -> Packet:
    data = b"".join(b"\0\0\0\1" + one for one in units)
    return Packet(data, pts, pts if dts is None else dts, 2, BASE, key, "video/0")


def paff(*, top_first: bool, apart: bool = False) -> Iterator[Packet]:
    """Field pairs, `apart`: each field in a packet of its own."""
    for number in range(PICTURES):
        first, second = fields.pair(number, top_first=top_first)
        key = number % fields.GOP == 0
        head = [*fields.parameter_sets(), first] if key else [first]
        if apart:
            yield coded(head, 2 * number, key=key)
            yield coded([second], 2 * number + 1)
        else:
            yield coded([*head, second], 2 * number, key=key)


def mbaff(
    *, top_first: bool = True, b_frames: int = 0, scene: Any = None, coding: str = "interlaced=1"
) -> Iterator[Packet]:
    """x264's interlaced coding, in decoding order; moving fields, or `scene` of a number."""
    context: Any = av.CodecContext.create("libx264", "w")
    context.width, context.height, context.pix_fmt = fields.WIDTH, fields.HEIGHT, "yuv420p"
    context.time_base, context.framerate = BASE, RATE
    context.options = {
        "x264-params": f"{coding}:keyint=12:bframes={b_frames}:qp=12:repeat-headers=1",
        "preset": "medium",
    }

    flagged = Graph()
    flagged.link_nodes(
        flagged.add(
            "buffer",
            video_size=f"{fields.WIDTH}x{fields.HEIGHT}",
            pix_fmt="yuv420p",
            time_base="1/50",
        ),
        flagged.add("setfield", "tff" if top_first else "bff"),
        flagged.add("buffersink"),
    )
    flagged.configure()

    def pictures() -> Iterator[Any]:
        for number in range(PICTURES):
            luma = fields.woven(number, top_first=top_first) if scene is None else scene(number)
            chroma = np.full((fields.HEIGHT // 2, fields.WIDTH), 128, np.uint8)
            frame = av.VideoFrame.from_ndarray(np.vstack([luma, chroma]), "yuv420p")
            frame.pts, frame.time_base = 2 * number, BASE
            flagged.vpush(frame)
            yield flagged.vpull()
        yield None

    for picture in pictures():
        for packet in context.encode(picture):
            data, dts = bytes(packet), packet.dts
            yield Packet(data, packet.pts, dts, 2, BASE, packet.is_keyframe, "video/0")


def decoded(packets: Iterator[Packet]) -> tuple[list[Frame], Telemetry]:
    """What a live stream's decoder gives."""
    first = next(packets)
    track = probe("h264", bytes(first.data), name="a", time_base=BASE, rate=RATE)
    telemetry = Telemetry()
    decoder = FFmpegDecoder(track, pool=FramePool(), telemetry=telemetry, low_delay=True)
    frames = [f for packet in itertools.chain([first], packets) for f in decoder.decode(packet)]
    return [*frames, *decoder.flush()], telemetry


def luma(frame: Frame) -> np.ndarray[Any, Any]:
    return frame.planes[0].array().astype(int)


def combed(image: np.ndarray[Any, Any]) -> float:
    """How much neighbouring lines differ."""
    return float(np.abs(np.diff(image.astype(int), axis=0)).mean())


def check(frames: Sequence[Frame]) -> None:
    """All pictures in their order, each as its first field was, without a comb."""
    assert [frame.pts for frame in frames] == list(range(0, 2 * PICTURES, 2))
    for frame in frames[2:-2]:  # the filter looks at the pictures beside
        number = frame.pts // 2
        assert combed(luma(frame)) < 0.2 * combed(fields.woven(number)), number
        off = np.abs(luma(frame) - fields.bar(2 * number)).mean()
        assert off < 6, (number, off)


@pytest.mark.parametrize("top_first", [True, False], ids=["top first", "bottom first"])
def test_field_pairs_become_one_progressive_picture_each(top_first: bool) -> None:
    frames, telemetry = decoded(paff(top_first=top_first))
    check(frames)
    assert telemetry.counts("converted") == {"interlaced": PICTURES}
    assert telemetry.counts("dropped") == {} and telemetry.counts("corrupt") == {}


@pytest.mark.parametrize("b_frames", [0, 2])
@pytest.mark.parametrize("top_first", [True, False], ids=["top first", "bottom first"])
def test_field_macroblocks_become_progressive_pictures_in_their_order(
    top_first: bool, b_frames: int
) -> None:
    frames, telemetry = decoded(mbaff(top_first=top_first, b_frames=b_frames))
    check(frames)
    assert telemetry.counts("converted") == {"interlaced": PICTURES}


def test_each_field_in_a_packet_of_its_own_still_makes_one_picture_of_two() -> None:
    frames, telemetry = decoded(paff(top_first=True, apart=True))
    check(frames)
    assert telemetry.counts("dropped") == {"undecodable": PICTURES}


@pytest.mark.parametrize(
    ("coding", "moves"), [("interlaced=1", False), ("fake-interlaced=1", True)]
)
def test_progressive_pictures_that_are_coded_as_interlaced_keep_every_line(
    coding: str, moves: bool
) -> None:
    def scene(number: int) -> np.ndarray[Any, Any]:
        image = np.zeros((fields.HEIGHT, fields.WIDTH), np.uint8)
        image[::2] = 180
        image[:, : 2 + number * moves] = 90
        return image

    frames, telemetry = decoded(mbaff(scene=scene, coding=coding))
    assert [frame.pts for frame in frames] == list(range(0, 2 * PICTURES, 2))
    assert all(np.abs(luma(f) - scene(f.pts // 2)).mean() < 6 for f in frames[2:-2])
    assert telemetry.counts("dropped") == {}
