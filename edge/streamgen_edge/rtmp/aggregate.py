"""Aggregate messages: several FLV tags in one message (RTMP 1.0 section 7.1.6)."""

from __future__ import annotations

from collections.abc import Iterator

from streamgen_edge.rtmp.limits import ProtocolError
from streamgen_edge.rtmp.messages import Message

_HEAD, _BACK = 11, 4
_MOST = 4096


def taken_apart(message: Message) -> Iterator[Message]:
    """Its parts, on the aggregate's stream; their times are shifted to begin at its own.

    Raises `ProtocolError` for sizes that do not fit.
    """
    body = message.body
    at, shift = 0, None
    for _ in range(_MOST):
        if at >= len(body):
            return
        if at + _HEAD > len(body):
            raise ProtocolError("an aggregate message is cut short")
        size = int.from_bytes(body[at + 1 : at + 4], "big")
        stamp = int.from_bytes(body[at + 4 : at + 7], "big") | body[at + 7] << 24
        end = at + _HEAD + size
        if end > len(body):
            raise ProtocolError("a part of an aggregate message ends behind it")
        if shift is None:
            shift = message.timestamp - stamp
        time = stamp + shift & 0xFFFFFFFF
        yield Message(body[at], message.stream, time, body[at + _HEAD : end])
        at = end + _BACK
    raise ProtocolError("an aggregate message has too many parts")
