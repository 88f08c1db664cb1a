"""`overlay`: text, a clock, a frame number or a logo on the picture.

overlay: {text: "{name}  {clock}", position: top-right, size: 0.05}
overlay: {picture: logo.png, position: bottom-right, size: 0.15, opacity: 0.8}
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from string import Formatter
from typing import Any, ClassVar, Literal

import av
import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator, model_validator

from streamgen.config import Settings
from streamgen.errors import ConfigError
from streamgen.media.frame import Frame, Layout
from streamgen.media.mixing import Mixer
from streamgen.media.picture_file import read_picture
from streamgen.media.port import PICTURE
from streamgen.plugins import find
from streamgen.protocols import StageContext, Value
from streamgen.stages.patch import Patch
from streamgen.stages.planar import readable

FIELDS = ("clock", "time", "frame", "pts", "name")
NAMED = {
    "white": "#ffffff",
    "black": "#000000",
    "red": "#ff3b30",
    "green": "#34c759",
    "blue": "#0a84ff",
    "yellow": "#ffd60a",
}
TEXT_SIZE = 0.05
_PLACES = Literal[
    "top-left", "top", "top-right", "left", "center", "right", "bottom-left", "bottom",
    "bottom-right",
]  # fmt: skip


class Place(Settings):
    """A place by number, as shares of the picture."""

    x: float = Field(ge=0.0, le=1.0)
    """0 is the left edge, 1 the right edge; what is drawn lies within."""
    y: float = Field(ge=0.0, le=1.0)
    """0 is the top, 1 the bottom."""


class OverlayParams(Settings):
    """Parameters of `overlay`."""

    text: str = Field(default="", max_length=500)
    """What is written. `{clock}` is the time of day (offline: the time of the stream), `{time}`
    the time of the stream, `{frame}` the number of the picture, `{pts}` its timestamp, `{name}`
    the stream's name. Needs the package `pillow`."""
    picture: Path | None = None
    """A PNG (or any picture file), with its transparency, instead of text."""
    font: Path | None = None
    """A TrueType or OpenType file; the built-in font knows ASCII only."""
    position: _PLACES | Place = "bottom-left"
    """Where: a corner, an edge, the center, or `{x: 0.5, y: 0.9}`."""
    size: float | None = Field(default=None, gt=0.0, le=1.0)
    """Height of a line of text, or of the picture, over the height of the frame; default 0.05
    for text, and a picture's own size. Text that would not fit is written smaller."""
    margin: float = Field(default=0.03, ge=0.0, le=0.5)
    """Distance from the edges, over the height of the frame."""
    color: str = Field(default="white", validate_default=True)
    """Of the letters: a name (white, black, red, green, blue, yellow) or `#rrggbb`."""
    outline: bool = True
    """A dark edge around light letters and a light one around dark, to be read on everything."""
    opacity: float = Field(default=1.0, ge=0.0, le=1.0)
    """0 is invisible."""

    @field_validator("text")
    @classmethod
    def _known_fields(cls, text: str) -> str:
        for _, name, form, conversion in Formatter().parse(text):
            if name is not None and (name not in FIELDS or form or conversion):
                known = ", ".join(f"{{{field}}}" for field in FIELDS)
                raise ValueError(f"unknown field {{{name}}} (there are: {known})")
        return text

    @field_validator("color")
    @classmethod
    def _known_color(cls, color: str) -> str:
        value = NAMED.get(color, color)
        digits = value.removeprefix("#")
        if len(value) != 7 or len(digits) != 6 or set(digits.lower()) - set("0123456789abcdef"):
            raise ValueError(f"a colour is {', '.join(NAMED)} or #rrggbb, got '{color}'")
        return value

    @model_validator(mode="after")
    def _one_thing(self) -> OverlayParams:
        if self.text and self.picture is not None:
            raise ValueError("text or a picture; write two overlays for both")
        return self


class Overlay:
    """Draws when something changes, and mixes the rectangle it touches; the rest is copied."""

    Params: ClassVar[type[Settings]] = OverlayParams
    state = "ordered"
    """Counts pictures, and goes on where they stand still."""
    fixed = frozenset({"picture", "font"})

    def __init__(self, params: Any, context: StageContext) -> None:
        """Raises `ConfigError` for a picture or font that cannot be read."""
        self._context = context
        self._mixer = Mixer()
        self._logo = None if params.picture is None else _picture(params.picture)
        self._lettering: Any = None
        if self._logo is None:
            self._lettering = _lettering(params.font)
        self._number = -1
        self._drawn: tuple[tuple[Any, ...], Patch] | None = None

    def output_size(self, width: int, height: int) -> tuple[int, int]:
        return width, height

    def process(self, inputs: Mapping[str, Value], params: Any) -> Mapping[str, Value]:
        frame = inputs[PICTURE]
        self._number += 1
        text = "" if self._logo is not None else self._written(params.text, frame)
        if (self._logo is None and not text.strip()) or params.opacity == 0.0:
            return {PICTURE: frame}
        frame = readable(frame, self._context, "overlay")
        patch = self._patch(text, frame, params)
        out = self._context.pool.take(Layout.I420, frame.width, frame.height)
        for source, target in zip(frame.planes, out.planes, strict=True):
            np.asarray(target)[...] = source.array()
            self._context.meter.copied("overlay", source.shape[0] * source.shape[1])
        patch.lay(self._mixer, out.planes, *_corner(frame, patch, params))
        return {PICTURE: out.publish(frame)}

    def _written(self, text: str, frame: Value) -> str:
        if "{" not in text and "}" not in text:
            return text
        seconds = float(frame.pts * frame.time_base)
        now = self._context.time_of_day
        return text.format(
            clock=_clock(seconds)[:-4] if now is None else now().strftime("%H:%M:%S"),
            time=_clock(seconds),
            frame=self._number,
            pts=frame.pts,
            name=self._context.title,
        )

    def _patch(self, text: str, frame: Frame, params: OverlayParams) -> Patch:
        """Drawn anew when the text, its looks, or the size or colour of the frames changed."""
        size = params.size
        key = (
            text, size, params.color, params.outline, params.opacity, params.margin,
            frame.width, frame.height, frame.color.matrix, frame.color.range,
        )  # fmt: skip
        if self._drawn is None or self._drawn[0] != key:
            self._drawn = (key, self._new_patch(text, frame, params))
        return self._drawn[1]

    def _new_patch(self, text: str, frame: Frame, params: OverlayParams) -> Patch:
        size = params.size
        if self._logo is not None:
            rows = self._logo.shape[0] if size is None else max(1, round(size * frame.height))
            return Patch.of(_sized(self._logo, rows), frame.color, params.opacity)
        edges = 2 * round(params.margin * frame.height)
        room = (max(1, frame.width - edges), max(1, frame.height - edges))
        wanted = round((size or TEXT_SIZE) * frame.height)
        size_px = self._lettering.fitting(text, wanted, *room)
        fill, edge = self._lettering.draw(text, size_px)
        red, green, blue = (int(params.color[at : at + 2], 16) for at in (1, 3, 5))
        tone = (red, green, blue)
        dark = (0, 0, 0) if 2 * red + 7 * green + blue > 960 else (255, 255, 255)
        return Patch.of_letters(
            fill, edge if params.outline else fill, tone, dark if params.outline else tone,
            frame.color, params.opacity,
        )  # fmt: skip

    def reset(self) -> None:
        """The number of the picture goes on; what is drawn depends on nothing else."""

    def close(self) -> None:
        self._drawn = None


def _lettering(font: Path | None) -> Any:
    """Raises `ConfigError`."""
    try:
        lettering = find("lettering", "pillow")
    except ConfigError as missing:
        raise ConfigError(
            "text needs the package 'pillow': pip install 'streamgen[overlay]'"
        ) from missing
    return lettering(font)


def _clock(seconds: float) -> str:
    """`hh:mm:ss.mmm`."""
    whole, milli = divmod(round(max(0.0, seconds) * 1000), 1000)
    return f"{whole // 3600:02d}:{whole // 60 % 60:02d}:{whole % 60:02d}.{milli:03d}"


def _corner(frame: Frame, patch: Patch, params: OverlayParams) -> tuple[int, int]:
    """Even left and top of the patch."""
    margin = round(params.margin * frame.height)
    width, height = patch.size
    free = (frame.width - width - 2 * margin, frame.height - height - 2 * margin)
    place = params.position
    if isinstance(place, Place):
        share = (place.x, place.y)
    else:
        share = (
            0.0 if "left" in place else 1.0 if "right" in place else 0.5,
            0.0 if "top" in place else 1.0 if "bottom" in place else 0.5,
        )
    left, top = (margin + round(room * at) for room, at in zip(free, share, strict=True))
    return left // 2 * 2, top // 2 * 2


def _picture(path: Path) -> NDArray[Any]:
    """`[h, w, 4]` of the first picture in a file. Raises `ConfigError`."""
    rgba: NDArray[Any] = read_picture(path).to_ndarray(format="rgba")
    return rgba


def _sized(rgba: NDArray[Any], rows: int) -> NDArray[Any]:
    """In this height. Colour is scaled multiplied by alpha, or dark seams would show."""
    height, width = rgba.shape[:2]
    if rows == height:
        return rgba
    columns = max(1, round(width * rows / height))
    alpha = rgba[..., 3:].astype(np.float32) / 255
    shown = rgba.copy()
    shown[..., :3] = rgba[..., :3] * alpha + 0.5
    picture = av.VideoFrame.from_ndarray(shown, format="rgba")
    scaled = picture.reformat(width=columns, height=rows, interpolation="BICUBIC")
    small: NDArray[Any] = scaled.to_ndarray()
    cover = np.maximum(small[..., 3:].astype(np.float32) / 255, 1 / 255)
    small[..., :3] = np.clip(small[..., :3] / cover + 0.5, 0, 255)
    return small
