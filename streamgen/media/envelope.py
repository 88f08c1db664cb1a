"""A `Packet` between processes: a fixed binary header, and the encoded bytes as they are.

    magic "SG" | version | kind | flags | 0 | track u16 | stream u32 | term u32 | epoch u32
    | pts i64 | dts i64 | duration i64 | time base u32 / u32 | received_ns u64  (little endian)

Never pickle: whoever can write to a link could run code. A header that breaks the rules is a
`LinkError`, and nothing else comes out.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum
from fractions import Fraction
from typing import Any

from streamgen.errors import StreamGenError
from streamgen.media.packet import Packet

MAGIC = b"SG"
VERSION = 1
LARGEST_BYTES = 32 << 20
"""No single access unit is larger: the bound of a whole GOP."""
_HEADER = struct.Struct("<2sBBBxHIIIqqqIIQ")
HEADER_BYTES = _HEADER.size
_KEYFRAME, _DISCARD, _PTS, _DTS, _REPLAYED = 1, 2, 4, 8, 16
_FLAGS = _KEYFRAME | _DISCARD | _PTS | _DTS | _REPLAYED
_MOST_TICKS = 1 << 62


class LinkError(StreamGenError):
    """What came over a link is not what the other end of this version sends."""


class Kind(IntEnum):
    """What an envelope holds."""

    PACKET = 1
    DESCRIPTION = 2
    """The codec and decoder configuration of a track, for the packets of this epoch that follow."""
    END = 3
    """No more packets come: what is inside is finished, not thrown away."""


_KINDS = frozenset(int(kind) for kind in Kind)


@dataclass(frozen=True, slots=True)
class Envelope:
    """One message of the media socket. `packet.track` is named by whoever knows the numbers."""

    kind: Kind
    stream: int
    """Number of the stream on this link."""
    term: int
    """Number of the attachment; what carries an older one is from a worker that was given up."""
    track: int
    packet: Packet
    received_ns: int
    """When the edge received it (monotonic clock of this machine)."""


def seal(
    packet: Packet,
    *,
    stream: int,
    term: int,
    track: int,
    kind: Kind = Kind.PACKET,
    received_ns: int = 0,
) -> bytes:
    """The header of a packet; its bytes travel beside it. Raises `LinkError` for what does not
    fit."""
    flags = _KEYFRAME * packet.keyframe | _DISCARD * packet.discard
    flags |= _PTS * (packet.pts is not None) | _DTS * (packet.dts is not None)
    flags |= _REPLAYED * packet.replayed
    base = packet.time_base
    try:
        return _HEADER.pack(
            MAGIC,
            VERSION,
            kind,
            flags,
            track,
            stream,
            term,
            packet.epoch,
            packet.pts or 0,
            packet.dts or 0,
            packet.duration,
            base.numerator,
            base.denominator,
            received_ns,
        )
    except struct.error as error:
        raise LinkError(f"a packet does not fit its envelope: {error}") from error


def opened(header: Any, payload: Any) -> Envelope:
    """The message of two frames. `payload` (buffer protocol) is kept, not copied.

    Raises `LinkError` for every header that `seal` does not write.
    """
    try:
        (
            magic,
            version,
            kind,
            flags,
            track,
            stream,
            term,
            epoch,
            pts,
            dts,
            duration,
            over,
            under,
            at,
        ) = _HEADER.unpack(header)
    except struct.error as error:
        raise LinkError(f"a header of {memoryview(header).nbytes} bytes") from error
    if magic != MAGIC or version != VERSION:
        raise LinkError("not an envelope of this version")
    if kind not in _KINDS or flags & ~_FLAGS or not over or not under:
        raise LinkError("an envelope breaks the rules")
    if not -_MOST_TICKS < pts < _MOST_TICKS or not -_MOST_TICKS < dts < _MOST_TICKS:
        raise LinkError("an envelope with impossible times")
    if not 0 <= duration < _MOST_TICKS or memoryview(payload).nbytes > LARGEST_BYTES:
        raise LinkError("an envelope with an impossible length")
    packet = Packet(
        payload,
        pts if flags & _PTS else None,
        dts if flags & _DTS else None,
        duration,
        _time_base(over, under),
        bool(flags & _KEYFRAME),
        "",
        epoch,
        bool(flags & _DISCARD),
        replayed=bool(flags & _REPLAYED),
    )
    return Envelope(Kind(kind), stream, term, track, packet, at)


_bases: dict[tuple[int, int], Fraction] = {}


def _time_base(over: int, under: int) -> Fraction:
    """The same object for the same pair: a stream has two or three, and reducing costs."""
    found = _bases.get((over, under))
    if found is None:
        found = Fraction(over, under)
        if len(_bases) < 64:
            _bases[over, under] = found
    return found
