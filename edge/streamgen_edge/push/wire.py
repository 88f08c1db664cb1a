"""What goes to a push process on its standard input: an order, packets, signs of life, the end.

length (4) kind (1) body          all integers big-endian; length is the body's
packet: key (1) pts (8) dts (8) data
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable, Iterator, Mapping
from enum import IntEnum
from fractions import Fraction
from typing import Any

from streamgen.media.packet import Packet

_HEAD = struct.Struct(">IB")
_PACKET = struct.Struct(">IB?qq")
_TIMES = struct.Struct(">?qq")
PICTURE_BASE, SOUND_BASE = Fraction(1, 90_000), Fraction(1, 48_000)


class Kind(IntEnum):
    ORDER, PICTURE, SOUND, END, BEAT = range(5)


def order(told: Mapping[str, Any]) -> bytes:
    """What is to be sent, and where; the first of all. Its secrets stand nowhere else."""
    body = json.dumps(told).encode()
    return _HEAD.pack(len(body), Kind.ORDER) + body


def end() -> bytes:
    """The stream is over: the target is told so. An input that ends without it is another matter:
    the stream may go on to that target from elsewhere."""
    return _HEAD.pack(0, Kind.END)


def beat() -> bytes:
    """The edge lives."""
    return _HEAD.pack(0, Kind.BEAT)


def packed(packets: Iterable[Packet]) -> bytes:
    parts: list[Any] = []
    for packet in packets:
        kind = Kind.PICTURE if packet.track.startswith("video/") else Kind.SOUND
        pts = packet.pts or 0
        dts = pts if packet.dts is None else packet.dts
        length = _TIMES.size + packet.size_bytes
        parts += (_PACKET.pack(length, kind, packet.keyframe, pts, dts), packet.data)
    return b"".join(parts)


def unpacked(kind: Kind, body: bytes) -> Packet:
    """A packet, its data copied once."""
    key, pts, dts = _TIMES.unpack_from(body)
    picture = kind is Kind.PICTURE
    base, track = (PICTURE_BASE, "video/pushed") if picture else (SOUND_BASE, "audio/pushed")
    return Packet(body[_TIMES.size :], pts, dts, 0, base, key, track)


class Unframed:
    """The reading end."""

    def __init__(self) -> None:
        self._rest = bytearray()

    def feed(self, data: bytes) -> Iterator[tuple[Kind, bytes]]:
        """All that is whole now."""
        rest = self._rest
        rest += data
        at = 0
        while len(rest) - at >= _HEAD.size:
            length, kind = _HEAD.unpack_from(rest, at)
            begin = at + _HEAD.size
            if len(rest) - begin < length:
                break
            at = begin + length
            yield Kind(kind), bytes(memoryview(rest)[begin:at])
        del rest[:at]
