"""H.264 as encoders give it (Annex B) and as MP4 wants it (ISO/IEC 14496-15, `avc1`).

An `avc1` sample holds no parameter sets: they stand once, in the decoder configuration record.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from fractions import Fraction

from streamgen.errors import OutputError
from streamgen.media.bits import Bits

_START = b"\x00\x00\x01"
_IDR, _SPS, _PPS = 5, 7, 8
_OUT_OF_SAMPLES = frozenset({_SPS, _PPS, 9, 10, 11, 12})
"""Parameter sets, delimiters, ends and filler have no place in samples, or no use."""
_WITH_CHROMA = frozenset({100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135})
_SHAPES = (
    *((0, 1), (1, 1), (12, 11), (10, 11), (16, 11), (40, 33), (24, 11), (20, 11), (32, 11)),
    *((80, 33), (18, 11), (15, 11), (64, 33), (160, 99), (4, 3), (3, 2), (2, 1)),
)
"""Sample aspect ratios of table E-1, by `aspect_ratio_idc`."""


@dataclass(frozen=True, slots=True)
class AccessUnit:
    """One picture, taken apart."""

    sample: bytes
    """Its NAL units, each behind its length in four bytes."""
    idr: bool
    sps: bytes
    """The sequence parameter set that came with it; empty when none did."""
    pps: bytes


def access_unit(data: bytes) -> AccessUnit:
    """Take an Annex B access unit apart."""
    out: list[bytes] = []
    sps = pps = b""
    idr = False
    at = data.find(_START)
    while at >= 0:
        begin = at + 3
        at = data.find(_START, begin)
        # The zero of a four-byte start code, and trailing zeros, belong to no NAL unit (B.1).
        unit = data[begin : at if at >= 0 else len(data)].rstrip(b"\x00")
        if not unit:
            continue
        kind = unit[0] & 0x1F
        if kind == _SPS:
            sps = sps or unit
        elif kind == _PPS:
            pps = pps or unit
        if kind not in _OUT_OF_SAMPLES:
            idr = idr or kind == _IDR
            out += (len(unit).to_bytes(4, "big"), unit)
    return AccessUnit(b"".join(out), idr, sps, pps)


@dataclass(frozen=True, slots=True)
class Parameters:
    """What a stream's parameter sets say of it."""

    sps: bytes
    pps: bytes
    width: int
    """Luma samples after cropping."""
    height: int
    shape: Fraction
    """Width of a pixel over its height."""
    chroma: int
    depth: tuple[int, int]
    """Bits of luma and chroma."""

    @property
    def codecs(self) -> str:
        """RFC 6381: profile, constraint flags and level, as the SPS has them."""
        return f"avc1.{self.sps[1:4].hex().upper()}"

    @property
    def display(self) -> tuple[int, int]:
        return round(self.width * self.shape), self.height

    def record(self) -> bytes:
        """AVCDecoderConfigurationRecord (ISO/IEC 14496-15, 5.3.3.1)."""
        head = bytes([1, *self.sps[1:4], 0xFF, 0xE1])
        sets = struct.pack(">H", len(self.sps)) + self.sps
        sets += b"\x01" + struct.pack(">H", len(self.pps)) + self.pps
        if self.sps[1] in (66, 77, 88):
            return head + sets
        luma, chroma = self.depth
        more = [0xFC | self.chroma, 0xF8 | luma - 8, 0xF8 | chroma - 8, 0]
        return head + sets + bytes(more)


def parameters(sps: bytes, pps: bytes) -> Parameters:
    """Read a sequence parameter set (H.264, 7.3.2.1.1). Raises `OutputError` when it is broken."""
    try:
        return _parameters(sps, pps)
    except (IndexError, ValueError) as error:
        raise OutputError("the sequence parameter set of the picture is broken") from error


def _parameters(sps: bytes, pps: bytes) -> Parameters:
    profile = sps[1]
    bits = Bits(sps[4:].replace(b"\x00\x00\x03", b"\x00\x00"))
    bits.ue()  # seq_parameter_set_id
    chroma, depth = 1, (8, 8)
    if profile in _WITH_CHROMA:
        chroma = bits.ue()
        if chroma == 3:
            bits.take(1)
        depth = bits.ue() + 8, bits.ue() + 8
        bits.take(1)
        if bits.take(1):
            _skip_scaling(bits, 12 if chroma == 3 else 8)
    bits.ue()  # log2_max_frame_num
    order = bits.ue()
    if order == 0:
        bits.ue()
    elif order == 1:
        bits.take(1)
        bits.se()
        bits.se()
        for _ in range(bits.ue() % 256):
            bits.se()
    bits.ue()  # max_num_ref_frames
    bits.take(1)
    width, rows = 16 * (bits.ue() + 1), bits.ue() + 1
    progressive = bits.take(1)
    if not progressive:
        bits.take(1)
    height = 16 * rows * (2 - progressive)
    bits.take(1)
    if bits.take(1):
        left, right, top, bottom = (bits.ue() for _ in range(4))
        across = 2 if chroma in (1, 2) else 1
        down = (2 if chroma == 1 else 1) * (2 - progressive)
        width -= across * (left + right)
        height -= down * (top + bottom)
    if not (0 < width <= 16384 and 0 < height <= 16384):
        raise ValueError("size")
    return Parameters(sps, pps, width, height, _shape(bits), chroma, depth)


def _shape(bits: Bits) -> Fraction:
    """Pixel aspect ratio of the VUI (E.1.1); square without one."""
    if not bits.take(1) or not bits.take(1):
        return Fraction(1)
    kind = bits.take(8)
    if kind == 255:
        wide, high = bits.take(16), bits.take(16)
    else:
        wide, high = _SHAPES[kind] if kind < len(_SHAPES) else (1, 1)
    return Fraction(wide, high) if wide and high else Fraction(1)


def _skip_scaling(bits: Bits, lists: int) -> None:
    for number in range(lists):
        if not bits.take(1):
            continue
        last = following = 8
        for _ in range(16 if number < 6 else 64):
            if following:
                following = (last + bits.se()) % 256
            last = following or last
