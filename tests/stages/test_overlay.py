"""`overlay`: text, a clock, a frame number or a logo on the picture."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from numpy.typing import NDArray
from pydantic import ValidationError

from streamgen.errors import ConfigError
from streamgen.media.frame import Color, Frame, Matrix, Range
from streamgen.media.mixing import Mixer
from streamgen.plugins import LETTERINGS
from streamgen.protocols import StageContext
from streamgen.stages.lettering import Lettering
from streamgen.stages.overlay import Overlay
from streamgen.stages.patch import Patch
from streamgen.testing import HarshPool
from tests.stages.pictures import flat, noise, pitched, values


def laid(context: StageContext, frame: Frame, **params: Any) -> Frame:
    given = Overlay.Params(**params)
    result = Overlay(given, context).process({"picture": frame}, given)["picture"]
    assert isinstance(result, Frame)
    return result


def touched(frame: Frame, result: Frame) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of what changed."""
    changed = values(result)[0] != values(frame)[0]
    rows, columns = np.flatnonzero(changed.any(axis=1)), np.flatnonzero(changed.any(axis=0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


@pytest.mark.parametrize(
    ("position", "horizontal", "vertical"),
    [
        ("top-left", 0.0, 0.0),
        ("top", 0.5, 0.0),
        ("right", 1.0, 0.5),
        ("center", 0.5, 0.5),
        ("bottom-right", 1.0, 1.0),
        ({"x": 0.25, "y": 0.75}, 0.25, 0.75),
    ],
)
def test_text_stands_where_it_is_put(
    context: StageContext, position: Any, horizontal: float, vertical: float
) -> None:
    frame = flat(320, 180, 90)
    result = laid(context, frame, text="Hxg", position=position, size=0.1, margin=0.05)
    left, top, right, bottom = touched(frame, result)
    width, height = right - left, bottom - top
    assert 10 < height < 30 and 20 < width < 80
    assert abs(left - (9 + horizontal * (320 - 18 - width))) <= 6
    assert abs(top - (9 + vertical * (180 - 18 - height))) <= 8


def test_only_the_rectangle_of_the_text_changes(context: StageContext, pool: HarshPool) -> None:
    frame = pitched(noise(320, 180), pool)
    result = laid(context, frame, text="clock", position="bottom-right")
    left, top, _, _ = touched(frame, result)
    for index, (got, given) in enumerate(zip(values(result), values(frame), strict=True)):
        step = 2 if index else 1
        assert (got[: top // step - 1] == given[: top // step - 1]).all()
        assert (got[:, : left // step - 1] == given[:, : left // step - 1]).all()
    assert not pool.spoiled(result)
    assert pool.meter.planes == {"overlay": 3}


@pytest.mark.parametrize("color", [Color(m, r) for m in Matrix for r in Range], ids=lambda c: "")
def test_letters_have_the_colour_asked_for_in_every_colour_space(
    context: StageContext, color: Color
) -> None:
    """The bar of a large I, in plain red; BT.601 in studio range makes 81, 90, 240 of it."""
    frame = replace(flat(256, 256, 120), color=color)
    result = laid(context, frame, text="I", size=1.0, color="#ff0000", position="center")
    y, u, v = values(result)
    red = int(v.max())
    full = color.range is Range.FULL
    assert abs(red - (255 if full else 240)) <= 1
    rows, columns = np.nonzero(v >= red - 1)
    at = (rows[rows.size // 2], columns[columns.size // 2])
    kr = {Matrix.BT709: 0.2126, Matrix.BT601: 0.299, Matrix.BT2020: 0.2627}[color.matrix]
    assert abs(y[2 * at[0], 2 * at[1]] - (255 * kr if full else 16 + 219 * kr)) <= 1
    assert y.max() >= (254 if full else 234), "dark letters have a light outline"
    assert u[at] < 128


def test_edges_of_letters_are_smooth(context: StageContext) -> None:
    luma = values(laid(context, flat(320, 180, 16), text="SO", size=0.4, outline=False))[0]
    assert np.unique(luma).size > 60


def test_fields_are_filled_in(context: StageContext, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[str] = []
    draw = Lettering.draw

    def spy(self: Lettering, text: str, size_px: int) -> Any:
        written.append(text)
        return draw(self, text, size_px)

    monkeypatch.setattr(Lettering, "draw", spy)
    context = replace(context, title="studio")
    params = Overlay.Params(text="{name} {frame} {pts} {time} {clock} {{x}}")
    stage = Overlay(params, context)
    for pts in (0, 91_530):
        stage.process({"picture": flat(320, 180, 90, pts=pts)}, params)
    assert written == [
        "studio 0 0 00:00:00.000 00:00:00 {x}",
        "studio 1 91530 01:01:01.200 01:01:01 {x}",
    ]
    at = replace(context, time_of_day=lambda: datetime(2026, 1, 2, 13, 14, 15))
    laid(at, flat(320, 180, 90), text="{clock}")
    assert written[-1] == "13:14:15"


def test_text_is_drawn_only_when_it_changes(
    context: StageContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[str] = []
    make = Lettering.draw

    def spy(self: Lettering, text: str, size_px: int) -> Any:
        drawn.append(text)
        return make(self, text, size_px)

    monkeypatch.setattr(Lettering, "draw", spy)
    params = Overlay.Params(text="{clock}")
    stage = Overlay(params, context)
    for pts in range(60):
        stage.process({"picture": flat(320, 180, 90, pts=pts)}, params)
    assert drawn == ["00:00:00", "00:00:01", "00:00:02"]
    changed = Overlay.Params(text="{clock}", color="yellow")
    stage.process({"picture": flat(320, 180, 90, pts=60)}, changed)
    assert len(drawn) == 4


def test_text_that_would_not_fit_is_written_smaller(context: StageContext) -> None:
    frame = flat(320, 180, 90)
    left, top, right, bottom = touched(frame, laid(context, frame, text="word " * 20, size=0.5))
    assert left >= 4 and right <= 316 and top >= 4 and bottom <= 176
    tiny = flat(2, 2, 90)
    assert laid(context, tiny, text="word").width == 2


def logo(path: Path) -> NDArray[np.uint8]:
    """A green disc on nothing."""
    y, x = np.mgrid[0:40, 0:60]
    rgba = np.zeros((40, 60, 4), np.uint8)
    rgba[..., 1] = 255
    rgba[..., 3] = np.clip(20 - np.hypot(x - 29.5, y - 19.5), 0, 1) * 255
    with av.open(str(path), "w", format="image2") as container:
        stream = container.add_stream("png")
        stream.width, stream.height, stream.pix_fmt = 60, 40, "rgba"
        container.mux(stream.encode(av.VideoFrame.from_ndarray(rgba, format="rgba")))
        container.mux(stream.encode(None))
    return rgba


def test_a_picture_is_laid_with_its_transparency(context: StageContext, tmp_path: Path) -> None:
    path = tmp_path / "logo.png"
    logo(path)
    frame = flat(320, 180, 200)
    for size, height in ((None, 40), (0.5, 90)):
        result = laid(context, frame, picture=path, position="top-left", size=size, margin=0)
        left, top, right, bottom = touched(frame, result)
        assert abs(bottom - top - height) <= 3 and abs(right - left - height) <= 3
        assert top <= 1 and abs(left - height // 4) <= 2
        assert abs(values(result)[0][height // 2, height * 3 // 4] - 173) <= 2, "BT.709 green"
        assert values(result)[0][2, 2] == 200, "nothing in the corner"


def test_opacity_lets_the_picture_through(context: StageContext, tmp_path: Path) -> None:
    path = tmp_path / "logo.png"
    logo(path)
    frame = flat(320, 180, 73)
    half = laid(context, frame, picture=path, position="top-left", margin=0, opacity=0.5)
    assert abs(values(half)[0][20, 30] - 123) <= 1
    assert laid(context, frame, picture=path, opacity=0.0) is frame


def test_a_patch_that_stands_out_is_cut_off(pool: HarshPool) -> None:
    context_frame = flat(64, 48, 90)
    rgba = np.full((20, 20, 4), 255, np.uint8)
    for left, top in ((-10, -10), (54, 38), (70, 10), (-30, 0)):
        out = pitched(context_frame, pool)
        Patch.of(rgba, Color(), 1.0).lay(Mixer(), out.planes, left, top)
        wanted = np.full((48, 64), 90)
        wanted[max(0, top) : max(0, top + 20), max(0, left) : max(0, left + 20)] = 235
        np.testing.assert_array_equal(values(out)[0], wanted)
        assert not pool.spoiled(out)


def test_nothing_to_write_gives_the_frame_itself(context: StageContext, pool: HarshPool) -> None:
    frame = noise(64, 48)
    assert laid(context, frame) is frame
    assert laid(context, frame, text="  ") is frame
    assert pool.taken == 0


@pytest.mark.parametrize("size", [(17, 31), (1, 1), (90, 67)])
def test_every_size_works(context: StageContext, pool: HarshPool, size: tuple[int, int]) -> None:
    frame = pitched(noise(*size), pool)
    result = laid(context, frame, text="gM8", size=0.5)
    assert (result.width, result.height) == size
    assert not pool.spoiled(result)


@pytest.mark.parametrize(
    ("params", "reason"),
    [
        ({"text": "{nothing}"}, r"unknown field \{nothing\} \(there are: \{clock\}"),
        ({"text": "{frame:09000000d}"}, "unknown field"),
        ({"text": "{name.__class__}"}, "unknown field"),
        ({"text": "{"}, "expected '}'|Single"),
        ({"color": "mauve-ish"}, "a colour is white"),
        ({"color": "#12345g"}, "a colour is"),
        ({"text": "x", "picture": "logo.png"}, "two overlays"),
        ({"size": 0.0}, "greater than 0"),
        ({"position": "middle"}, "top-left"),
    ],
)
def test_what_cannot_be_drawn_is_refused(params: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        Overlay.Params(**params)


def test_files_that_cannot_be_read_stop_the_start(context: StageContext, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.write_bytes(b"no picture, no font")
    for name in (tmp_path / "missing", broken):
        with pytest.raises(ConfigError, match="cannot read the picture"):
            Overlay(Overlay.Params(picture=name), context)
        with pytest.raises(ConfigError, match="cannot read the font"):
            Overlay(Overlay.Params(text="x", font=name), context)


def test_without_pillow_text_is_refused_and_says_what_to_install(
    context: StageContext, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(LETTERINGS, "pillow", "streamgen.no_such_module:Lettering")
    with pytest.raises(ConfigError, match=r"pip install 'streamgen\[overlay\]'"):
        Overlay(Overlay.Params(text="x"), context)
    logo(tmp_path / "logo.png")
    Overlay(Overlay.Params(picture=tmp_path / "logo.png"), context)
