"""FLV payloads written by hand, and a demuxer to feed them to."""

from __future__ import annotations

from collections import Counter
from typing import Any

from streamgen_edge.rtmp.demux import Demuxer
from streamgen_edge.rtmp.messages import AUDIO, VIDEO, Message

from .client import PPS, SPS

START = b"\0\0\0\1"
PARAMETERS = START + SPS + START + PPS
SLICE = bytes.fromhex("6588840000")
OPUS = b"OpusHead" + bytes([1, 2]) + bytes(9)
SEQUENCE = bytes.fromhex("0a0b00000004470db4f55c0002")
AV1C = b"\x81\x00\x0c\x00" + SEQUENCE


class Rig:
    """A demuxer, what it counted and what it gave."""

    def __init__(self, most_tracks: int = 8) -> None:
        self.counts: Counter[str] = Counter()
        self.demuxer = Demuxer(most_tracks=most_tracks, count=self.count)

    def count(self, reason: str) -> None:
        self.counts[reason] += 1

    def video(self, body: bytes, at: int = 0) -> list[Any]:
        return self.demuxer.feed(Message(VIDEO, 1, at, bytearray(body)))

    def audio(self, body: bytes, at: int = 0) -> list[Any]:
        return self.demuxer.feed(Message(AUDIO, 1, at, bytearray(body)))


def enhanced(packet: int, codec: bytes, body: bytes, *, key: bool = True) -> bytes:
    """A tag of E-RTMP with a picture."""
    return bytes([0x80 | (1 if key else 2) << 4 | packet]) + codec + body


def units(*nals: bytes) -> bytes:
    return b"".join(len(nal).to_bytes(4, "big") + nal for nal in nals)


def hvcc() -> bytes:
    arrays = b"".join(
        bytes([0x80 | kind]) + b"\0\1" + len(unit).to_bytes(2, "big") + unit
        for kind, unit in ((32, VPS), (33, HSPS), (34, HPPS), (39, b"\x4e\x01name"))
    )
    return b"\x01" + bytes(20) + b"\xff\x04" + arrays


VPS = bytes.fromhex("40010c01ffff01600000030090000003000003003c959409")
HSPS = bytes.fromhex(
    "420101016000000300900000030000030" + "03ca00a080f16595952930bc05a020000030002000003003210"
)
HPPS = bytes.fromhex("4401c073c189")
