"""Pictures that a camera or a container wants turned come out as they are shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from streamgen.decode.ffmpeg import FFmpegDecoder
from streamgen.ingest.link import probe
from streamgen.media.frame import Frame, Layout, plane_shapes
from streamgen.media.orientation import Orientation, turned
from streamgen.media.packet import Packet
from streamgen.media.pool import FramePool
from streamgen.media.tracks import VideoTrack
from streamgen.telemetry import Telemetry
from tests.decode import sei
from tests.decode.played import play

WIDTH, HEIGHT = 64, 48
GOP = 8
BASE = Fraction(1, 25)
ALL = [Orientation(r, m) for m in (False, True) for r in (0, 90, 180, 270)]
WORDS = [f"{one.rotation}{' mirrored' * one.mirrored}" for one in ALL]
Image = NDArray[Any]


def scene() -> Image:
    """Luma with another value in each corner."""
    image = np.full((HEIGHT, WIDTH), 90, np.uint8)
    image[:16, :16], image[:16, -16:], image[-16:, :16] = 30, 160, 220
    return image


def shown(image: Image, one: Orientation) -> Image:
    """The stored picture as somebody sees it."""
    return np.rot90(image[:, ::-1] if one.mirrored else image, one.rotation // 90)


def encoded(count: int, codec: str = "libx264", sar: str = "1:1") -> list[tuple[bytes, bool]]:
    """Access units, with a key frame every `GOP`."""
    context: Any = av.CodecContext.create(codec, "w")
    context.width, context.height, context.pix_fmt = WIDTH, HEIGHT, "yuv420p"
    context.time_base, context.framerate = BASE, 25
    context.sample_aspect_ratio = Fraction(sar.replace(":", "/"))
    context.options = {
        "preset": "ultrafast",
        "tune": "zerolatency",
        "x264-params": f"keyint={GOP}:min-keyint={GOP}:scenecut=0:qp=10",
    }
    out: list[tuple[bytes, bool]] = []
    grey = np.full((HEIGHT // 2, WIDTH), 128, np.uint8)
    for number in range(count):
        frame = av.VideoFrame.from_ndarray(np.vstack([scene(), grey]), "yuv420p")
        frame.pts, frame.time_base = number, BASE
        out += [(bytes(one), one.is_keyframe) for one in context.encode(frame)]
    return out


def live(
    messages: Mapping[int, bytes], count: int, sar: str = "1:1"
) -> tuple[VideoTrack, list[Frame], Telemetry]:
    """What a live stream's decoder gives of pictures with these messages before them."""
    units = encoded(count, sar=sar)
    bodies = [
        (b"\0\0\0\1" + messages[n] if n in messages else b"") + data
        for n, (data, _) in enumerate(units)
    ]
    track = probe("h264", bodies[0], name="a", time_base=BASE, rate=None)
    telemetry = Telemetry()
    decoder = FFmpegDecoder(track, pool=FramePool(), telemetry=telemetry, low_delay=True)
    frames: list[Frame] = []
    for n, body in enumerate(bodies):
        frames += decoder.decode(Packet(body, n, n, 1, BASE, units[n][1], "video/0"))
    return track, [*frames, *decoder.flush()], telemetry


def same(frame: Frame, image: Image) -> bool:
    luma = frame.planes[0].array().astype(int)
    return luma.shape == image.shape and float(np.abs(luma - image).mean()) < 3


@pytest.mark.parametrize("one", ALL, ids=WORDS)
def test_live_pictures_are_turned_upright_up_to_the_next_key_frame(one: Orientation) -> None:
    said = sei.orientation(one.rotation // 90, mirrored=one.mirrored)
    track, frames, telemetry = live({0: said, GOP: said}, 2 * GOP)
    assert [frame.pts for frame in frames] == list(range(2 * GOP))
    assert all(frame.rotation == 0 and same(frame, shown(scene(), one)) for frame in frames)
    assert (track.width, track.height) == (frames[0].width, frames[0].height)
    assert telemetry.counts("converted") == ({"turned": 2 * GOP} if one != ALL[0] else {})


def test_a_camera_that_is_turned_in_the_middle_of_a_gop_is_followed() -> None:
    track, frames, _ = live({5: sei.orientation(1)}, 2 * GOP)
    assert (track.width, track.height) == (WIDTH, HEIGHT)
    turns = [Orientation(90 if 5 <= n < GOP else 0) for n in range(2 * GOP)]
    assert all(same(f, shown(scene(), turn)) for f, turn in zip(frames, turns, strict=True))


def test_pixels_that_are_not_square_are_turned_with_their_picture() -> None:
    track, frames, _ = live({0: sei.orientation(1)}, 2 * GOP, sar="4:3")
    assert track.sar == frames[0].sar == Fraction(3, 4)
    assert frames[GOP].sar == Fraction(4, 3)


@pytest.mark.parametrize("one", ALL, ids=WORDS)
def test_a_file_keeps_its_rotation_and_only_mirrored_pictures_are_copied(
    tmp_path: Path, one: Orientation
) -> None:
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("libx264", rate=25, options={"qp": "10"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        # Here the mirror comes after the turn.
        turn = -one.rotation if one.mirrored else one.rotation
        stream.set_display_rotation(turn, hflip=one.mirrored)
        grey = np.full((HEIGHT // 2, WIDTH), 128, np.uint8)
        frame = av.VideoFrame.from_ndarray(np.vstack([scene(), grey]), "yuv420p")
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    played = play(path)
    assert played.video.rotation == one.rotation
    assert all(frame.rotation == one.rotation for frame in played.frames)
    stored = scene()[:, ::-1] if one.mirrored else scene()
    assert all(same(frame, stored) for frame in played.frames)
    assert played.telemetry.counts("converted") == ({"turned": 1} if one.mirrored else {})


@pytest.mark.parametrize("layout", list(Layout))
@pytest.mark.parametrize("one", ALL, ids=WORDS)
@pytest.mark.parametrize("size", [(16, 8), (7, 5)], ids=["even", "odd"])
def test_every_plane_is_turned(layout: Layout, one: Orientation, size: tuple[int, int]) -> None:
    pool, dice = FramePool(), np.random.default_rng(3)
    lent = pool.take(layout, *size)
    for plane in lent.planes:
        target = np.asarray(plane)
        target[:] = dice.integers(0, 255, target.shape)
    template = Frame(lent.planes, layout, *size, pts=7, time_base=BASE)
    out = turned(template, one, pool)
    assert (out.pts, out.rotation) == (7, 0)
    assert (out is template) == (one == ALL[0])
    shapes: Sequence[tuple[int, int]] = plane_shapes(layout, out.width, out.height)
    for number, (before, after) in enumerate(zip(template.planes, out.planes, strict=True)):
        assert after.shape == shapes[number]
        pairs = layout is not Layout.I420 and number == 1
        for component in range(2 if pairs else 1):
            step = 2 if pairs else 1
            stored, seen = (one.array()[:, component::step] for one in (before, after))
            assert np.array_equal(seen, shown(stored, one))
