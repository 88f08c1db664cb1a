"""`Bits`: bit fields and Exp-Golomb codes, as the headers of codecs are written."""

from __future__ import annotations

_LONGEST_CODE = 32


class Bits:
    """Reads from the first bit on, most significant first. Raises `IndexError` at the end."""

    def __init__(self, data: bytes) -> None:
        self._value = int.from_bytes(data, "big")
        self._left = 8 * len(data)

    def take(self, number: int) -> int:
        """u(n): an unsigned number of this many bits."""
        if number > self._left:
            raise IndexError("end of data")
        self._left -= number
        return self._value >> self._left & ((1 << number) - 1)

    def ue(self) -> int:
        """ue(v) of H.264 9.1. Raises `ValueError` for a code of more than 32 leading zeros."""
        zeros = 0
        while not self.take(1):
            zeros += 1
            if zeros > _LONGEST_CODE:
                raise ValueError("not a code")
        return (1 << zeros) - 1 + self.take(zeros)

    def se(self) -> int:
        """se(v) of H.264 9.1.1."""
        code = self.ue()
        return (code + 1) // 2 if code % 2 else -(code // 2)
