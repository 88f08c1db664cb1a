"""`Survey`: what a file says of its pictures, packet by packet, before one of them is decoded."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamgen.media.packet import Packet
from streamgen.protocols import Source
from streamgen.session import Mending

KEY, HIDDEN, EXACT = 1, 2, 4
"""Flags of a packet: a key frame; decoded and never shown; from here on every picture that is
shown later is decoded as it would be from the start."""
MISSING = -(1 << 62)
"""Stands for a time that the container does not say."""
ROW = np.dtype(
    [
        ("pts", "<i8"),
        ("dts", "<i8"),
        ("duration", "<i8"),
        ("raw_pts", "<i8"),
        ("size", "<i8"),
        ("epoch", "<i4"),
        ("flags", "<u4"),
    ]
)
_NS = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Survey:
    """The video packets of a file in the order of the container, with their mended times."""

    rows: NDArray[Any]
    """One `ROW` for each packet."""
    time_base: Fraction

    def times_ns(self, pts: NDArray[np.int64]) -> NDArray[np.int64]:
        """Nanoseconds of output time, rounded down as the frame clock does."""
        whole, rest = np.divmod(pts * self.time_base.numerator, self.time_base.denominator)
        return np.asarray(whole * _NS + rest * _NS // self.time_base.denominator)

    @property
    def untimed(self) -> bool:
        """Some picture has no time of its own: only a decoder knows their order."""
        return bool((self.rows["pts"] == MISSING).any())


def survey(source: Source, timeline: Mending) -> Survey:
    """Read a whole input without decoding; `timeline` mends all of its tracks, as in a run.

    Raises `SourceError`.
    """
    video = source.info.video
    rows = np.fromiter(_rows(source, timeline), ROW)
    return Survey(rows, video.time_base)


def _rows(source: Source, timeline: Mending) -> Iterator[tuple[int, ...]]:
    video = source.info.video
    lengths = _length_size(video.codec_context)
    for raw in source.packets():
        mended = timeline.mend(raw)
        if raw.track != video.name:
            continue
        flags = (KEY if raw.keyframe else 0) | (HIDDEN if raw.discard else 0)
        if raw.keyframe and (video.codec != "h264" or begins_anew(bytes(raw.data), lengths)):
            flags |= EXACT
        yield (
            MISSING if mended.pts is None else mended.pts,
            MISSING if mended.dts is None else mended.dts,
            mended.duration,
            *identity(raw),
            mended.epoch,
            flags,
        )


def _length_size(context: Any) -> int:
    """Bytes of each NAL unit's length (ISO/IEC 14496-15); 0 where start codes part them."""
    extradata = bytes(context.extradata or b"") if context is not None else b""
    return (extradata[4] & 3) + 1 if len(extradata) > 4 and extradata[0] == 1 else 0


def begins_anew(data: bytes, length_size: int) -> bool:
    """Whether an H.264 picture is an IDR. A recovery point may refresh only by and by."""
    return any(kind == 5 for kind in _kinds(data, length_size))


def _kinds(data: bytes, length_size: int) -> Iterator[int]:
    """Types of NAL units up to the first slice (H.264 7.3.1)."""
    at = 0
    while at < len(data):
        if length_size:
            start = at + length_size
            at = start + int.from_bytes(data[at:start], "big")
        else:
            found = data.find(b"\x00\x00\x01", at)
            start = at = len(data) if found < 0 else found + 3
        if start < len(data):
            kind = data[start] & 0x1F
            yield kind
            if kind in {1, 5}:
                return


def identity(packet: Packet) -> tuple[int, int]:
    """What a packet is known by wherever the reading began: its time in the container, its size."""
    return MISSING if packet.pts is None else packet.pts, packet.size_bytes
