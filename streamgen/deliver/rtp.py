"""RTP as bytes: H.264 payloads (RFC 6184), packet headers and sender reports (RFC 3550)."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator

MTU = 1200
"""Bytes of one payload: with headers, SRTP's tag and a relay's framing below every path's MTU."""
MASK32 = 0xFFFFFFFF
MARKER = 0x80
PADDING = 255
"""The most that one packet can be padded with."""
_PADDED = 0x20
_START = b"\x00\x00\x01"
_HEADER = struct.Struct(">BBHII")
_REPORT = struct.Struct(">BBHIQIII")
_NTP_1970 = 2_208_988_800
_NS = 1_000_000_000
_LEFT_OUT = frozenset({9, 12})
"""Access unit delimiters and filler say nothing that RTP does not."""
_SPS, _STAP_A, _FU_A = 7, 24, 28
BASELINE = 66
"""`profile_idc` that every peer decodes (RFC 7742, 6.2)."""
_SR, _SDES, _BYE, _CNAME = 200, 202, 203, 1

pack_header = _HEADER.pack
"""`pack_header(0x80, marker | payload_type, sequence, timestamp, ssrc)` (RFC 3550, 5.1)."""


def padding(
    first: int, kind: int, numbers: Iterable[int], timestamp: int, ssrc: int
) -> list[tuple[bytes, bytes]]:
    """Packets of nothing but padding (RFC 3550, 5.1), as header and payload."""
    nothing = bytes(PADDING - 1) + bytes([PADDING])
    return [
        (pack_header(first | _PADDED, kind, number & 0xFFFF, timestamp, ssrc), nothing)
        for number in numbers
    ]


def nal_units(unit: bytes) -> Iterator[bytes]:
    """NAL units of an Annex B access unit, without start codes and trailing zeros (B.1)."""
    at = unit.find(_START)
    while at >= 0:
        begin = at + 3
        at = unit.find(_START, begin)
        one = (unit[begin:at] if at >= 0 else unit[begin:]).rstrip(b"\x00")
        if one:
            yield one


def profile_and_level(config: bytes) -> tuple[int, int] | None:
    """`profile_idc` and `level_idc` of the first sequence parameter set in Annex B."""
    for unit in nal_units(config):
        if unit[0] & 0x1F == _SPS and len(unit) > 3:
            return unit[1], unit[3]
    return None


def h264_payloads(unit: bytes, most: int = MTU) -> list[bytes]:
    """Payloads of one access unit in packetization-mode 1: small NAL units together in STAP-A,
    large ones apart in FU-A whose pieces are all of one size but the last (RFC 6184, 5.7, 5.8)."""
    out: list[bytes] = []
    small: list[bytes] = []
    room = most - 1
    for one in nal_units(unit):
        if one[0] & 0x1F in _LEFT_OUT:
            continue
        if small and len(one) + 2 > room:
            out.append(_together(small))
            small, room = [], most - 1
        if len(one) > most:
            out += _apart(one, most)
        else:
            small.append(one)
            room -= len(one) + 2
    if small:
        out.append(_together(small))
    return out


def _together(units: list[bytes]) -> bytes:
    if len(units) == 1:
        return units[0]
    # F and NRI are the highest of all (5.7).
    head = bytes([max(one[0] & 0xE0 for one in units) | _STAP_A])
    return head + b"".join(len(one).to_bytes(2, "big") + one for one in units)


def _apart(one: bytes, most: int) -> Iterator[bytes]:
    indicator, kind = one[0] & 0xE0 | _FU_A, one[0] & 0x1F
    step = most - 2
    begin, last = 1, len(one)
    while begin < last:
        end = min(begin + step, last)
        flags = (0x80 if begin == 1 else 0) | (0x40 if end == last else 0)
        yield bytes((indicator, flags | kind)) + one[begin:end]
        begin = end


def ntp(wall_ns: int) -> int:
    """Time since 1900 in 1/2**32 s (RFC 5905) of nanoseconds since 1970."""
    seconds, rest = divmod(wall_ns, _NS)
    return (seconds + _NTP_1970) << 32 | (rest << 32) // _NS


def sender_report(
    ssrc: int, *, ntp_time: int, timestamp: int, packets: int, octets: int, cname: bytes
) -> bytes:
    """A compound of sender report and source description (RFC 3550, 6.4.1 and 6.5)."""
    report = _REPORT.pack(
        0x80, _SR, 6, ssrc, ntp_time, timestamp, packets & MASK32, octets & MASK32
    )
    chunk = ssrc.to_bytes(4, "big") + bytes([_CNAME, len(cname)]) + cname + b"\x00"
    chunk += bytes(-len(chunk) % 4)
    return report + struct.pack(">BBH", 0x81, _SDES, len(chunk) // 4) + chunk


def goodbye(ssrc: int) -> bytes:
    """The source leaves (RFC 3550, 6.6)."""
    return struct.pack(">BBHI", 0x81, _BYE, 1, ssrc)
