"""Picture size from a sequence parameter set, for limits and lists: nothing is decoded with it.

H.264 7.3.2.1.1, HEVC 7.3.2.2.1.
"""

from __future__ import annotations

from streamgen.media.bits import Bits

_RICH_PROFILES = {100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135}
"""H.264 profiles whose SPS tells the chroma format."""
_SUB_WIDTH = (1, 2, 2, 1)
_SUB_HEIGHT = (1, 2, 1, 1)


def picture_size(codec: str, sps: bytes) -> tuple[int, int]:
    """Width and height in pixels after cropping; (0, 0) when the SPS cannot be read."""
    plain = sps.replace(b"\x00\x00\x03", b"\x00\x00")
    try:
        width, height = _avc(Bits(plain)) if codec == "h264" else _hevc(Bits(plain))
    except (IndexError, ValueError):
        return 0, 0
    return (width, height) if 0 < width <= 1 << 16 and 0 < height <= 1 << 16 else (0, 0)


def _avc(bits: Bits) -> tuple[int, int]:
    bits.take(8)
    profile = bits.take(8)
    bits.take(16)
    bits.ue()
    chroma = 1
    if profile in _RICH_PROFILES:
        chroma = bits.ue()
        if chroma == 3:
            bits.take(1)
        bits.ue()
        bits.ue()
        bits.take(1)
        if bits.take(1):
            _skip_scaling(bits, 12 if chroma == 3 else 8)
    bits.ue()
    _skip_order(bits)
    bits.ue()
    bits.take(1)
    width = 16 * (bits.ue() + 1)
    rows = bits.ue() + 1
    whole = bits.take(1)
    height = 16 * rows * (2 - whole)
    if not whole:
        bits.take(1)
    bits.take(1)
    step_y = _SUB_HEIGHT[chroma] * (2 - whole)
    left, right, top, bottom = _crop(bits)
    return width - _SUB_WIDTH[chroma] * (left + right), height - step_y * (top + bottom)


def _skip_scaling(bits: Bits, lists: int) -> None:
    for number in range(lists):
        if not bits.take(1):
            continue
        last = following = 8
        for _ in range(16 if number < 6 else 64):
            if following:
                following = (last + bits.se()) & 0xFF
            last = following or last


def _skip_order(bits: Bits) -> None:
    """Picture order count."""
    kind = bits.ue()
    if kind == 0:
        bits.ue()
    elif kind == 1:
        bits.take(1)
        bits.se()
        bits.se()
        for _ in range(min(bits.ue(), 255)):
            bits.se()


def _crop(bits: Bits) -> tuple[int, int, int, int]:
    if not bits.take(1):
        return 0, 0, 0, 0
    return bits.ue(), bits.ue(), bits.ue(), bits.ue()


def _hevc(bits: Bits) -> tuple[int, int]:
    bits.take(16)
    bits.take(4)
    layers = bits.take(3)
    bits.take(1)
    _skip_profile(bits, layers)
    bits.ue()
    chroma = bits.ue()
    if chroma == 3:
        bits.take(1)
    width, height = bits.ue(), bits.ue()
    left, right, top, bottom = _crop(bits)
    chroma = chroma if chroma < 4 else 1
    return (
        width - _SUB_WIDTH[chroma] * (left + right),
        height - _SUB_HEIGHT[chroma] * (top + bottom),
    )


def _skip_profile(bits: Bits, layers: int) -> None:
    """profile_tier_level (7.3.3)."""
    bits.take(96)
    if not layers:
        return
    present = [(bits.take(1), bits.take(1)) for _ in range(layers)]
    bits.take(2 * (8 - layers))
    for profile, level in present:
        bits.take(88 * profile + 8 * level)
