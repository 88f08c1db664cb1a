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
        """`font` is a TrueType or OpenType file; None is Pillow's own (Latin letters only).

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
        image = (width, step * len(lines) + 2 * edge)
        masks = []
        for stroke in (0, edge):
            canvas = Image.new("L", image)
            pen = ImageDraw.Draw(canvas)
            for number, line in enumerate(lines):
                at = (2 * edge, edge + number * step + ascent)
                pen.text(at, line, fill=255, font=font, anchor="ls", stroke_width=stroke)
            masks.append(np.asarray(canvas))
        return masks[0], masks[1]

    def _at(self, size_px: int) -> ImageFont.FreeTypeFont:
        font = self._sizes.get(size_px)
        if font is None:
            font = self._loaded(size_px)
            while len(self._sizes) > 8:
                self._sizes.pop(next(iter(self._sizes)))
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
