"""H.264 in fields: pictures of a moving bar as field pairs (PAFF), which no encoder here makes.

Written bit by bit from the syntax tables of the standard (ITU-T H.264 7.3): intra pictures of raw
samples, so that what a decoder must give is known to the last bit.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

WIDTH, HEIGHT = 64, 64
GOP = 12
DARK, BRIGHT = 40, 200
BAR_PX, STEP_PX = 12, 3
RAW_MACROBLOCK = 25
"""I_PCM, as a macroblock type of I slices."""

Image = NDArray[np.uint8]


def bar(at: int) -> Image:
    """One field's luma, or any other height's: a bar that moves `STEP_PX` with each field."""
    image = np.full((HEIGHT, WIDTH), DARK, np.uint8)
    left = at * STEP_PX % (WIDTH - BAR_PX)
    image[:, left : left + BAR_PX] = BRIGHT
    return image


def woven(number: int, *, top_first: bool = True) -> Image:
    """The luma of a frame whose fields are one field's time apart."""
    image = bar(2 * number)
    image[int(top_first) :: 2] = bar(2 * number + 1)[int(top_first) :: 2]
    return image


class Bits:
    """What is written of one NAL unit."""

    def __init__(self) -> None:
        self._text: list[str] = []
        self._size = 0

    def _put(self, text: str) -> Bits:
        self._text.append(text)
        self._size += len(text)
        return self

    def u(self, size: int, value: int) -> Bits:
        return self._put(format(value, f"0{size}b"))

    def ue(self, *values: int) -> Bits:
        """Exp-Golomb codes (9.1)."""
        for value in values:
            code = format(value + 1, "b")
            self._put("0" * (len(code) - 1) + code)
        return self

    def raw(self, data: bytes) -> Bits:
        """Whole bytes behind zeros up to the next one."""
        self._put("0" * (-self._size % 8))
        return self._put(format(int.from_bytes(data, "big"), f"0{8 * len(data)}b"))

    def whole(self) -> bytes:
        """Bytes of all that was written, and of a stop bit behind it."""
        self.u(1, 1)
        self._put("0" * (-self._size % 8))
        return int("".join(self._text), 2).to_bytes(self._size // 8, "big")

    def unit(self, head: int) -> bytes:
        """The NAL unit with this first byte, with emulation prevention (7.4.1)."""
        out, zeros = bytearray([head]), 0
        for byte in self.whole():
            if zeros >= 2 and byte <= 3:
                out.append(3)
                zeros = 0
            out.append(byte)
            zeros = zeros + 1 if byte == 0 else 0
        return bytes(out)


def parameter_sets() -> tuple[bytes, bytes]:
    """SPS and PPS: Main profile, fields allowed, 4 bits of frame number, 8 of picture order."""
    sps = Bits().u(8, 77).u(8, 0).u(8, 30).ue(0, 0, 0, 4, 1).u(1, 0)
    sps.ue(WIDTH // 16 - 1, HEIGHT // 32 - 1).u(1, 0).u(1, 0).u(1, 1).u(1, 0).u(1, 0)
    pps = Bits().ue(0, 0).u(1, 0).u(1, 0).ue(0, 0, 0).u(1, 0).u(2, 0).ue(0, 0, 0)
    pps.u(1, 1).u(1, 0).u(1, 0)
    return sps.unit(0x67), pps.unit(0x68)


def field(number: int, *, bottom: bool, second: bool) -> bytes:
    """One field of frame `number`, as one slice."""
    place = number % GOP
    key = place == 0 and not second
    bits = Bits().ue(0, 7, 0).u(4, place).u(1, 1).u(1, int(bottom))
    if key:
        bits.ue(number // GOP % 2)
    bits.u(8, 2 * place + second)
    bits.u(2, 0) if key else bits.u(1, 0)
    bits.ue(0, 1)
    luma = bar(2 * number + second)[int(bottom) :: 2]
    for row in range(0, HEIGHT // 2, 16):
        for column in range(0, WIDTH, 16):
            block = luma[row : row + 16, column : column + 16]
            bits.ue(RAW_MACROBLOCK).raw(block.tobytes() + bytes([128]) * 128)
    return bits.unit(0x65 if key else 0x61)


def pair(number: int, *, top_first: bool = True) -> tuple[bytes, bytes]:
    """Both fields of a frame, in the order of their time."""
    return (
        field(number, bottom=not top_first, second=False),
        field(number, bottom=top_first, second=True),
    )
