"""A picture that says which one it is: its number and the time it was drawn, as large cells.

Two copies, one at the top and one at the bottom, each of 4 x 16 cells on a picture of any size:
24 bits of number, 24 bits of time in milliseconds and a CRC of 16 bits. A cell is light or dark, in
the order that a fixed mask makes of the bits, so that no strip is all of one shade. What is read is
the mean of a cell's middle against the copy's own levels: that survives scaling to 240p, a low
bitrate, and the strokes of a style network. Between the copies lies a moving texture, so that the
encoders have work.
"""

from __future__ import annotations

import binascii
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

ROWS, COLUMNS = 4, 16
STRIP = 1 / 3
"""Share of the picture's height that each copy takes."""
LIGHT, DARK = 216, 32
NUMBER_BITS = TIME_BITS = 24
WRAP_MS = 1 << TIME_BITS
_MASK = np.frombuffer(bytes.fromhex("5a3c96e15aa5c369"), np.uint8)
Plane = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Mark:
    """What a picture says."""

    number: int
    time_ms: int
    """Milliseconds of the clock that it was drawn by, modulo `WRAP_MS`."""

    def age_ms(self, now_ms: float) -> float:
        """How long ago it was drawn, by the same clock."""
        return (now_ms - self.time_ms + WRAP_MS / 2) % WRAP_MS - WRAP_MS / 2


class Painter:
    """Draws I420 pictures of one size, `height * 3 // 2` rows as PyAV takes them."""

    def __init__(self, width: int, height: int) -> None:
        self._width, self._height = width, height
        rows, columns = np.mgrid[0:height, 0 : width * 2]
        waves = 40 * np.sin(columns / 23) + 30 * np.sin((rows + columns) / 11)
        noise = np.random.default_rng(1).integers(-12, 13, waves.shape)
        self._texture = np.clip(128 + waves + noise, 16, 235).astype(np.uint8)
        self._chroma = np.full((height // 2, width), 128, np.uint8)
        self._chroma[: height // 4] = np.linspace(90, 160, width).astype(np.uint8)
        edges = [strip_edges(height, width, top) for top in (True, False)]
        self._cells = [
            (
                np.repeat(np.arange(ROWS), np.diff(down)),
                np.repeat(np.arange(COLUMNS), np.diff(across)),
                down[0],
            )
            for down, across in edges
        ]

    def picture(self, mark: Mark) -> Plane:
        shift = 2 * mark.number % self._width
        luma = self._texture[:, shift : shift + self._width].copy()
        shades = np.where(bits_of(mark).reshape(ROWS, COLUMNS), LIGHT, DARK).astype(np.uint8)
        for down, across, top in self._cells:
            luma[top : top + len(down)] = shades[np.ix_(down, across)]
        return np.vstack([luma, self._chroma])


def strip_edges(height: int, width: int, top: bool) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Where the cells of a copy begin and end, down and across."""
    strip = STRIP * height
    first = 0.0 if top else height - strip
    down = np.rint(np.linspace(first, first + strip, ROWS + 1)).astype(np.int64)
    return down, np.rint(np.linspace(0, width, COLUMNS + 1)).astype(np.int64)


def bits_of(mark: Mark) -> Plane:
    body = (mark.number % (1 << NUMBER_BITS)).to_bytes(3, "big")
    body += (mark.time_ms % WRAP_MS).to_bytes(3, "big")
    code = np.frombuffer(body + binascii.crc_hqx(body, 0xFFFF).to_bytes(2, "big"), np.uint8)
    return np.unpackbits(code ^ _MASK)


def read(luma: Plane) -> Mark | None:
    """What a picture says; None where neither copy can be read."""
    height, width = luma.shape
    for top in (True, False):
        found = marked(cell_means(luma, *strip_edges(height, width, top)))
        if found is not None:
            return found
    return None


def cell_means(
    luma: Plane, down: NDArray[np.int64], across: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Mean of the middle half of every cell."""
    means = np.empty((ROWS, COLUMNS))
    for row in range(ROWS):
        y0, y1 = _middle(down[row], down[row + 1])
        for column in range(COLUMNS):
            x0, x1 = _middle(across[column], across[column + 1])
            means[row, column] = luma[y0:y1, x0:x1].mean()
    return means


def _middle(begin: int, end: int) -> tuple[int, int]:
    quarter = (end - begin) // 4
    return int(begin + quarter), int(end - quarter)


def marked(means: NDArray[np.float64]) -> Mark | None:
    """The mark that these cells make, when its CRC fits."""
    ordered = np.sort(means, axis=None)
    level = (ordered[: means.size // 4].mean() + ordered[-means.size // 4 :].mean()) / 2
    code = (np.packbits(means.ravel() > level) ^ _MASK).tobytes()
    body, check = code[:6], code[6:]
    if binascii.crc_hqx(body, 0xFFFF) != int.from_bytes(check, "big"):
        return None
    return Mark(int.from_bytes(body[:3], "big"), int.from_bytes(body[3:], "big"))
