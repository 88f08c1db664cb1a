"""Our messages into chunks: few, small, each with a whole header (RTMP 1.0 section 5.3.1)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from streamgen_edge.rtmp import amf0
from streamgen_edge.rtmp.messages import (
    ACKNOWLEDGEMENT,
    CHUNK_SIZE,
    COMMAND,
    PEER_BANDWIDTH,
    USER_CONTROL,
    WINDOW_SIZE,
)

OUR_CHUNK_SIZE = 4096
_CONTROL, _COMMAND = 2, 3
"""Chunk stream ids."""
STREAM_BEGIN, PING_REQUEST, PING_RESPONSE = 0, 6, 7
"""User control events (section 6.2)."""
_DYNAMIC = 2


def chunked(
    chunk_stream: int, kind: int, stream: int, body: bytes, size: int, timestamp: int = 0
) -> bytes:
    """One message as a type 0 chunk and the type 3 chunks it needs."""
    stamp = min(timestamp, 0xFFFFFF)
    extended = timestamp.to_bytes(4, "big") if timestamp >= 0xFFFFFF else b""
    parts = [
        bytes([chunk_stream]),
        stamp.to_bytes(3, "big"),
        len(body).to_bytes(3, "big"),
        bytes([kind]),
        stream.to_bytes(4, "little"),
        extended,
        body[:size],
    ]
    for at in range(size, len(body), size):
        parts += [bytes([0xC0 | chunk_stream]), extended, body[at : at + size]]
    return b"".join(parts)


def command(stream: int, values: Iterable[Any], size: int = OUR_CHUNK_SIZE) -> bytes:
    """An AMF0 command on a message stream."""
    return chunked(_COMMAND, COMMAND, stream, amf0.encode(values), size)


def chunk_size(size: int = OUR_CHUNK_SIZE) -> bytes:
    return _control(CHUNK_SIZE, size.to_bytes(4, "big"))


def acknowledgement(received: int) -> bytes:
    return _control(ACKNOWLEDGEMENT, (received & 0xFFFFFFFF).to_bytes(4, "big"))


def window_size(size: int) -> bytes:
    return _control(WINDOW_SIZE, size.to_bytes(4, "big"))


def peer_bandwidth(size: int) -> bytes:
    return _control(PEER_BANDWIDTH, size.to_bytes(4, "big") + bytes([_DYNAMIC]))


def user_control(event: int, value: int) -> bytes:
    return _control(
        USER_CONTROL, event.to_bytes(2, "big") + (value & 0xFFFFFFFF).to_bytes(4, "big")
    )


def _control(kind: int, body: bytes) -> bytes:
    return chunked(_CONTROL, kind, 0, body, OUR_CHUNK_SIZE)
