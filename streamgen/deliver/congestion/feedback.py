"""Transport-wide feedback: which packets of a transport came, and when.

RTPFB format 15 (draft-holmer-rmcat-transport-wide-cc-extensions-01, 3.1).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

RTPFB, FORMAT = 205, 15
"""Packet type and format, as in a message's first two bytes."""
TICKS_PER_S = 4000
"""Arrivals are told in 250 us."""
REFERENCE_TICKS = 256
REFERENCE_BITS = 24
_MOST = 1 << 13
"""Packets that one message may speak of; what is told in real time is some hundreds."""
_HEAD = struct.Struct(">BBHIIHHI")
_ABSENT, _SMALL, _LARGE = 0, 1, 2


class BadFeedback(ValueError):
    """A message that makes no sense."""


@dataclass(frozen=True, slots=True)
class Feedback:
    """One message. `arrivals` are of the packets from number `base` on: ticks since `reference`,
    a time of the viewer's clock in 64 ms modulo 2**24; None for one that has not come."""

    base: int
    reference: int
    arrivals: list[int | None]


def is_feedback(message: bytes) -> bool:
    """Of one RTCP message: whether `read` is for it."""
    return len(message) > 1 and message[1] == RTPFB and message[0] & 0x1F == FORMAT


def messages(compound: bytes) -> Iterator[bytes]:
    """The messages of a compound (RFC 3550, 6.1); a last one may be cut short."""
    at = 0
    while at + 4 <= len(compound):
        end = at + 4 * (int.from_bytes(compound[at + 2 : at + 4], "big") + 1)
        yield compound[at:end]
        at = end


def read(message: bytes) -> Feedback:
    """Raises `BadFeedback`."""
    if len(message) < _HEAD.size or not is_feedback(message):
        raise BadFeedback("no transport-wide feedback")
    *_, base, count, times = _HEAD.unpack_from(message)
    if not 0 < count <= _MOST:
        raise BadFeedback(f"feedback of {count} packets")
    symbols, at = _symbols(message, count)
    arrivals: list[int | None] = []
    now = 0
    for symbol in symbols:
        if symbol == _ABSENT:
            arrivals.append(None)
            continue
        step = message[at : at + symbol]
        if len(step) != symbol:
            raise BadFeedback("feedback is cut short")
        now += int.from_bytes(step, "big", signed=symbol == _LARGE)
        at += symbol
        arrivals.append(now)
    return Feedback(base, times >> 8, arrivals)


def _symbols(message: bytes, count: int) -> tuple[list[int], int]:
    """The status of each packet, which is also the size of its time; where the times begin."""
    out: list[int] = []
    at = _HEAD.size
    while len(out) < count:
        if at + 2 > len(message):
            raise BadFeedback("feedback is cut short")
        chunk = message[at] << 8 | message[at + 1]
        at += 2
        if not chunk & 0x8000:
            out += [chunk >> 13 & 3] * min(chunk & 0x1FFF, count - len(out))
            if not chunk & 0x1FFF:
                raise BadFeedback("feedback with an empty run")
        elif chunk & 0x4000:
            out += [chunk >> shift & 3 for shift in range(12, -1, -2)]
        else:
            out += [chunk >> shift & 1 for shift in range(13, -1, -1)]
    del out[count:]
    if max(out) > _LARGE:
        raise BadFeedback("feedback with a status that is reserved")
    return out, at
