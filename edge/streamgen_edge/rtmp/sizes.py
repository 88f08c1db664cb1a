"""Picture size from a sequence parameter set, for limits and lists: nothing is decoded with it.

H.264 7.3.2.1.1, HEVC 7.3.2.2.1.
"""

from __future__ import annotations

_RICH_PROFILES = {100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135}
"""H.264 profiles whose SPS tells the chroma format."""
_SUB_WIDTH = (1, 2, 2, 1)
_SUB_HEIGHT = (1, 2, 1, 1)
_LONGEST_CODE = 32


def picture_size(codec: str, sps: bytes) -> tuple[int, int]:
    """Width and height in pixels after cropping; (0, 0) when the SPS cannot be read."""
    plain = sps.replace(b"\x00\x00\x03", b"\x00\x00")
    try:
        width, height = _avc(_Bits(plain)) if codec == "h264" else _hevc(_Bits(plain))
    except (IndexError, ValueError):
        return 0, 0
    return (width, height) if 0 < width <= 1 << 16 and 0 < height <= 1 << 16 else (0, 0)


class _Bits:
    """Bit fields and Exp-Golomb codes (9.1), first bit first."""

    def __init__(self, data: bytes) -> None:
        self._value = int.from_bytes(data, "big")
        self._left = 8 * len(data)

    def take(self, number: int) -> int:
        if number > self._left:
            raise IndexError("end of data")
        self._left -= number
        return self._value >> self._left & ((1 << number) - 1)

    def code(self) -> int:
        """ue(v)."""
        zeros = 0
        while not self.take(1):
            zeros += 1
            if zeros > _LONGEST_CODE:
                raise ValueError("not a code")
        return (1 << zeros) - 1 + self.take(zeros)

    def signed(self) -> int:
        """se(v)."""
        code = self.code()
        return (code + 1) // 2 if code & 1 else -(code // 2)


def _avc(bits: _Bits) -> tuple[int, int]:
    bits.take(8)
    profile = bits.take(8)
    bits.take(16)
    bits.code()
    chroma = 1
    if profile in _RICH_PROFILES:
        chroma = bits.code()
        if chroma == 3:
            bits.take(1)
        bits.code()
        bits.code()
        bits.take(1)
        if bits.take(1):
            _skip_scaling(bits, 12 if chroma == 3 else 8)
    bits.code()
    _skip_order(bits)
    bits.code()
    bits.take(1)
    width = 16 * (bits.code() + 1)
    rows = bits.code() + 1
    whole = bits.take(1)
    height = 16 * rows * (2 - whole)
    if not whole:
        bits.take(1)
    bits.take(1)
    step_y = _SUB_HEIGHT[chroma] * (2 - whole)
    left, right, top, bottom = _crop(bits)
    return width - _SUB_WIDTH[chroma] * (left + right), height - step_y * (top + bottom)


def _skip_scaling(bits: _Bits, lists: int) -> None:
    for number in range(lists):
        if not bits.take(1):
            continue
        last = following = 8
        for _ in range(16 if number < 6 else 64):
            if following:
                following = (last + bits.signed()) & 0xFF
            last = following or last


def _skip_order(bits: _Bits) -> None:
    """Picture order count."""
    kind = bits.code()
    if kind == 0:
        bits.code()
    elif kind == 1:
        bits.take(1)
        bits.signed()
        bits.signed()
        for _ in range(min(bits.code(), 255)):
            bits.signed()


def _crop(bits: _Bits) -> tuple[int, int, int, int]:
    if not bits.take(1):
        return 0, 0, 0, 0
    return bits.code(), bits.code(), bits.code(), bits.code()


def _hevc(bits: _Bits) -> tuple[int, int]:
    bits.take(16)
    bits.take(4)
    layers = bits.take(3)
    bits.take(1)
    _skip_profile(bits, layers)
    bits.code()
    chroma = bits.code()
    if chroma == 3:
        bits.take(1)
    width, height = bits.code(), bits.code()
    left, right, top, bottom = _crop(bits)
    chroma = chroma if chroma < 4 else 1
    return (
        width - _SUB_WIDTH[chroma] * (left + right),
        height - _SUB_HEIGHT[chroma] * (top + bottom),
    )


def _skip_profile(bits: _Bits, layers: int) -> None:
    """profile_tier_level (7.3.3)."""
    bits.take(96)
    if not layers:
        return
    present = [(bits.take(1), bits.take(1)) for _ in range(layers)]
    bits.take(2 * (8 - layers))
    for profile, level in present:
        bits.take(88 * profile + 8 * level)
