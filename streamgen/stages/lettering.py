"""Text as pixels, by Pillow and FreeType (the optional package `pillow`)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont, features

from streamgen.errors import ConfigError

Bytes = NDArray[np.uint8]
OUTLINE = 0.08
"""Width of the outline over the size of the letters."""


class Lettering:
    """Draws lines of text with one font; keeps it for the sizes asked for last."""

    def __init__(self, font: Path | None) -> None:
        """`font` is a TrueType or OpenType file; None is Pillow's own (ASCII only).

        Raises `ConfigError`.
        """
        if not features.check("freetype2"):
            raise ConfigError("text needs a Pillow that was built with FreeType")
        self._font = font
        self._sizes: dict[int, ImageFont.FreeTypeFont] = {}
        self._at(16)  # a font that cannot be read stops the start

    def draw(self, text: str, size_px: int) -> tuple[Bytes, Bytes]:
        """How much of each pixel the letters cover, and letters with their outline; 0..255.

        Both arrays have the same shape, which leaves room for the highest and lowest letters, so
        that text that changes does not jump.
        """
        font = self._at(size_px)
        edge = max(1, round(size_px * OUTLINE))
        lines = text.split("\n")
        ascent, descent = font.getmetrics()
        width = max(1, *(round(font.getlength(line)) for line in lines)) + 4 * edge
        step = ascent + descent + edge
        canvas = Image.new("L", (width, step * len(lines) + 2 * edge))
        pen = ImageDraw.Draw(canvas)
        for number, line in enumerate(lines):
            pen.text((2 * edge, edge + number * step + ascent), line, 255, font, "ls")
        fill = np.asarray(canvas)
        return fill, _outlined(fill, edge)

    def fitting(self, text: str, size_px: int, width: int, height: int) -> int:
        """The largest size up to `size_px` at which the text fits into so many pixels."""
        lines = text.split("\n")
        trial = self._at(16)
        ascent, descent = trial.getmetrics()
        wide = max(trial.getlength(line) for line in lines) / 16 + 4 * OUTLINE
        high = ((ascent + descent) / 16 + OUTLINE) * len(lines) + 2 * OUTLINE
        return max(6, min(size_px, int(width / wide), int(height / high)))

    def _at(self, size_px: int) -> ImageFont.FreeTypeFont:
        font = self._sizes.get(size_px)
        if font is None:
            font = self._loaded(size_px)
            if len(self._sizes) > 8:
                self._sizes.clear()
            self._sizes[size_px] = font
        return font

    def _loaded(self, size_px: int) -> ImageFont.FreeTypeFont:
        if self._font is None:
            built_in = ImageFont.load_default(size_px)
            assert isinstance(built_in, ImageFont.FreeTypeFont)
            return built_in
        try:
            return ImageFont.truetype(str(self._font), size_px)
        except OSError as error:
            raise ConfigError(f"cannot read the font {self._font}: {error}") from error


def _outlined(fill: Bytes, reach: int) -> Bytes:
    """Letters grown by `reach` pixels, nearly round: crosses and squares by turns. (FreeType's
    own stroke takes three times as long as the letters.)"""
    grown = fill.copy()
    for step in range(reach):
        across, down = grown.copy(), grown.copy()
        np.maximum(across[:, 1:], grown[:, :-1], out=across[:, 1:])
        np.maximum(across[:, :-1], grown[:, 1:], out=across[:, :-1])
        beside = across if step % 2 else grown
        np.maximum(down[1:], beside[:-1], out=down[1:])
        np.maximum(down[:-1], beside[1:], out=down[:-1])
        grown = np.maximum(across, down)
    return grown
