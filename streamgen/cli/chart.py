"""Lines over time as a picture, with NumPy alone: panels below each other, one scale each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from streamgen.cli.lettering import ROWS, lettering

Picture = NDArray[np.uint8]
"""H x W x 3, RGB."""
Colour = tuple[int, int, int]

WIDTH_PX = 1280
PANEL_PX = 200
MARGIN_PX = 24
LEFT_PX = 96
LABEL_PX = 30
DOT_PX = 2
LETTER_PX = 14
LINE_PX = 2
PAPER = (17, 18, 21)
GRID = (44, 47, 54)
INK = (150, 156, 168)
COLOURS: tuple[Colour, ...] = ((110, 190, 255), (255, 176, 84), (140, 220, 140), (240, 120, 140))


@dataclass(frozen=True, slots=True)
class Line:
    name: str
    values: Sequence[float]


@dataclass(frozen=True, slots=True)
class Panel:
    """Lines on one scale, which begins at 0."""

    lines: Sequence[Line]


def chart(title: str, hours: Sequence[float], panels: Sequence[Panel]) -> Picture:
    """All panels over the same `hours`, at least two of them, rising."""
    height = MARGIN_PX + LABEL_PX + len(panels) * (PANEL_PX + LABEL_PX + MARGIN_PX) + LABEL_PX
    picture = np.full((height, WIDTH_PX, 3), PAPER, np.uint8)
    _write(picture, title, LEFT_PX, MARGIN_PX)
    across = np.interp(hours, (hours[0], hours[-1]), (LEFT_PX, WIDTH_PX - MARGIN_PX - 1))
    for number, panel in enumerate(panels):
        top = MARGIN_PX + LABEL_PX + number * (PANEL_PX + LABEL_PX + MARGIN_PX)
        _panel(picture, panel, across, top)
    for share in (0, 0.25, 0.5, 0.75, 1):
        text = f"{hours[0] + share * (hours[-1] - hours[0]):.1f} H"
        left = LEFT_PX + share * (WIDTH_PX - MARGIN_PX - LEFT_PX) - share * LETTER_PX * len(text)
        _write(picture, text, int(left), height - LABEL_PX - MARGIN_PX // 2)
    return picture


def _panel(picture: Picture, panel: Panel, across: NDArray[np.float64], top: int) -> None:
    most = _round(max((max(line.values, default=0) for line in panel.lines), default=0))
    left = LEFT_PX
    for line, colour in zip(panel.lines, COLOURS, strict=False):
        _write(picture, line.name, left, top, colour)
        left += LETTER_PX * len(line.name) + 30
    top += LABEL_PX
    for share in (0, 0.5, 1):
        row = top + round((1 - share) * (PANEL_PX - 1))
        picture[row, LEFT_PX : WIDTH_PX - MARGIN_PX] = GRID
        _write(picture, f"{most * share:.4g}", 8, max(row - ROWS * DOT_PX, 0))
    for line, colour in zip(panel.lines, COLOURS, strict=False):
        rows = top + (1 - np.array(line.values) / most) * (PANEL_PX - 1)
        _stroke(picture, across, rows, colour)


def _round(most: float) -> float:
    """The next number that is easily read, for the top of a scale."""
    if most <= 0:
        return 1
    unit: float = 10.0 ** np.floor(np.log10(most))
    return next(step * unit for step in (1, 2, 4, 5, 6, 8, 10) if most <= step * unit)


def _stroke(
    picture: Picture, across: NDArray[np.float64], down: NDArray[np.float64], colour: Colour
) -> None:
    """From point to point, in each column as high as the line is steep."""
    columns = np.arange(int(across[0]), int(across[-1]) + 1)
    rows = np.interp(columns, across, down).round().astype(int)
    for column, row, before in zip(columns, rows, np.roll(rows, 1), strict=True):
        last = row if column == columns[0] else before
        picture[min(row, last) : max(row, last) + LINE_PX, column] = colour


def _write(picture: Picture, text: str, left: int, top: int, colour: Colour = INK) -> None:
    mask = lettering(text, DOT_PX)[:, : max(picture.shape[1] - left, 0)]
    picture[top : top + mask.shape[0], left : left + mask.shape[1]][mask] = colour
