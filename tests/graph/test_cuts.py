"""`CutDetector`: another scene is a cut; motion, fades, flashes and noise are none."""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from streamgen.graph.cuts import CutDetector
from streamgen.media.frame import CPU, Frame, Layout, Plane
from streamgen.testing import frame_of

WIDTH, HEIGHT = 320, 180
Luma = NDArray[np.uint8]


def scene(seed: int, shift: int = 0, width: int = WIDTH, height: int = HEIGHT) -> Luma:
    """Large shapes with texture, moved sideways by `shift` pixels."""
    luck = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width]
    picture = np.full((height, width), 110.0)
    for _ in range(8):
        at_x, at_y, size = luck.uniform(0, width), luck.uniform(0, height), luck.uniform(0.1, 0.4)
        inside = np.hypot(x + shift - at_x, y - at_y) < size * height
        picture[inside] += luck.uniform(-70, 70)
    picture += 8 * np.sin((x + shift) / 3) * np.cos(y / 4)
    luma: Luma = np.clip(picture, 16, 235).astype(np.uint8)
    return luma


def frame(luma: Luma) -> Frame:
    chroma = np.full(((luma.shape[0] + 1) // 2, (luma.shape[1] + 1) // 2), 128, np.uint8)
    return frame_of([luma, chroma, chroma])


def cuts(lumas: Iterable[Luma]) -> list[int]:
    detector = CutDetector()
    return [number for number, luma in enumerate(lumas) if detector.cut(frame(luma))]


def test_every_hard_cut_is_seen_and_nothing_else() -> None:
    lumas = [scene(seed, number) for seed in range(10) for number in range(8)]
    assert cuts(lumas) == list(range(8, 80, 8))


@pytest.mark.parametrize("speed", [1, 3, 6, 10])
def test_motion_is_no_cut_from_its_first_frame_on(speed: int) -> None:
    assert cuts(scene(3, max(0, number - 6) * speed) for number in range(24)) == []


def test_a_fade_is_no_cut() -> None:
    def faded(luma: Luma, share: float) -> Luma:
        return (16 + (luma.astype(float) - 16) * share).astype(np.uint8)

    down = [faded(scene(1), 1 - n / 12) for n in range(13)]
    up = [faded(scene(2), n / 12) for n in range(13)]
    assert cuts([*down, *reversed(down)]) == []
    assert cuts([*down, *up]) == []


@pytest.mark.parametrize("strength", [40, 90, 255])
def test_a_flash_is_no_cut(strength: int) -> None:
    def lit(luma: Luma) -> Luma:
        brighter: Luma = np.minimum(luma.astype(int) + strength, 255).astype(np.uint8)
        return brighter

    lumas = [scene(4, number) for number in range(12)]
    lumas[5:7] = [lit(luma) for luma in lumas[5:7]]
    assert cuts(lumas) == []


def test_black_and_white_pictures_between_scenes_are_passed_over() -> None:
    black, white = np.full((HEIGHT, WIDTH), 16, np.uint8), np.full((HEIGHT, WIDTH), 235, np.uint8)
    same, other = [scene(5)] * 3, [scene(6)] * 3
    assert cuts([*same, black, black, white, *same]) == []
    assert cuts([*same, black, *other]) == [4]


def test_noise_is_no_cut() -> None:
    luck = np.random.default_rng(1)
    dim = np.full((HEIGHT, WIDTH), 40.0)
    lumas = [(dim + luck.normal(0, 12, dim.shape)).clip(0, 255).astype(np.uint8) for _ in range(9)]
    assert cuts(lumas) == []


def test_a_whip_pan_is_not_one_cut_after_the_other() -> None:
    assert len(cuts(np.roll(scene(7), 75 * number, axis=1) for number in range(30))) <= 5


def test_nothing_is_compared_across_a_reset() -> None:
    detector = CutDetector()
    detector.cut(frame(scene(1)))
    detector.reset()
    assert not detector.cut(frame(scene(2)))


@pytest.mark.parametrize("size", [(1, 1), (2, 2), (7, 5), (33, 17), (1921, 9)])
def test_every_size_has_an_answer(size: tuple[int, int]) -> None:
    width, height = size
    detector = CutDetector()
    for seed in range(4):
        detector.cut(frame(scene(seed, width=width, height=height)))


def test_pictures_of_ten_bits_and_of_strided_memory_are_judged_alike() -> None:
    detector = CutDetector()
    found = []
    for seed in (1, 1, 2):
        deep = np.zeros((HEIGHT, WIDTH + 64), np.uint16)
        deep[:, :WIDTH] = scene(seed).astype(np.uint16) << 8
        wide = Plane(deep.ctypes.data, (HEIGHT, WIDTH), deep.strides[0], "uint16", CPU, deep)
        both = Plane.of(np.full((HEIGHT // 2, WIDTH), 128 << 8, np.uint16))
        like = frame(scene(seed))
        found.append(
            detector.cut(Frame((wide, both), Layout.P010, WIDTH, HEIGHT, 0, like.time_base))
        )
    assert found == [False, False, True]


def test_cuts_of_a_compressed_clip_are_found(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "a.mp4"), "w") as out:
        stream = out.add_stream("libx264", rate=25, options={"crf": "34", "preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for number in range(30):
            shown = av.VideoFrame.from_ndarray(scene(number // 10, 2 * number), format="gray")
            out.mux(stream.encode(shown.reformat(format="yuv420p")))
        out.mux(stream.encode(None))
    with av.open(str(tmp_path / "a.mp4")) as clip:
        lumas: list[Any] = [one.to_ndarray(format="gray") for one in clip.decode(video=0)]
    assert cuts(lumas) == [10, 20]


def test_a_picture_costs_little() -> None:
    detector, one = CutDetector(), frame(scene(1, width=1280, height=720))
    best_s = 1.0
    for _ in range(50):
        began_s = time.perf_counter()
        detector.cut(one)
        best_s = min(best_s, time.perf_counter() - began_s)
    assert best_s < 0.001  # 60 us where nothing else runs
