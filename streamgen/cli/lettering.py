"""Small capitals for the contact sheet: five by seven dots, so that no font file is needed."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

ROWS = 7
COLUMNS = 5
_UNKNOWN = "00000000040000"
# Seven rows of five dots from the top, two hexadecimal digits a row.
_GLYPHS = {
    " ": "00000000000000", ".": "00000000000c0c", ":": "000c0c000c0c00", "-": "0000001f000000",
    "/": "01010204081010", "_": "0000000000001f", "0": "0e11111111110e", "1": "040c040404040e",
    "2": "0e11010204081f", "3": "1f02040201110e", "4": "02060a121f0202", "5": "1f101e0101110e",
    "6": "0608101e11110e", "7": "1f010204080808", "8": "0e11110e11110e", "9": "0e11110f01020c",
    "A": "0e11111f111111", "B": "1e11111e11111e", "C": "0e11101010110e", "D": "1c12111111121c",
    "E": "1f10101e10101f", "F": "1f10101e101010", "G": "0e11101711110f", "H": "1111111f111111",
    "I": "0e04040404040e", "J": "0702020202120c", "K": "11121418141211", "L": "1010101010101f",
    "M": "111b1515111111", "N": "11111915131111", "O": "0e11111111110e", "P": "1e11111e101010",
    "Q": "0e11111115120d", "R": "1e11111e141211", "S": "0f10100e01011e", "T": "1f040404040404",
    "U": "1111111111110e", "V": "11111111110a04", "W": "1111111515150a", "X": "11110a040a1111",
    "Y": "1111110a040404", "Z": "1f01020408101f",
}  # fmt: skip


def lettering(text: str, dot_px: int) -> NDArray[np.bool_]:
    """`text` in capitals as a mask of 7 dots' height; characters without a glyph become dots."""
    gap = np.zeros((ROWS, 2), bool)
    strips: list[NDArray[np.bool_]] = []
    for letter in text.upper():
        rows = bytes.fromhex(_GLYPHS.get(letter, _UNKNOWN))
        bits = np.unpackbits(np.frombuffer(rows, np.uint8)[:, None], axis=1)[:, -COLUMNS:]
        strips += [bits.astype(bool), gap]
    mask = np.concatenate(strips[:-1] or [gap], axis=1)
    return np.kron(mask, np.ones((dot_px, dot_px), bool)).astype(bool)
