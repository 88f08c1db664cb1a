"""What the edge and its egress processes say to each other over a pair of sockets.

length (4) kind (1) body         all integers little-endian; length is the body's

A message is a JSON object; a packet is an envelope (`streamgen.media.envelope`) and its data.
"""

from __future__ import annotations

import asyncio
import json
import struct
from collections.abc import AsyncIterator, Mapping
from enum import IntEnum
from typing import Any

from streamgen.media.envelope import HEADER_BYTES, LARGEST_BYTES, Envelope, LinkError, opened, seal
from streamgen.media.packet import Packet

_HEAD = struct.Struct("<IB")
MOST_MESSAGE = 1 << 20
READ_AHEAD = 1 << 20


class Kind(IntEnum):
    MESSAGE, PACKET = range(2)


def message(told: Mapping[str, Any]) -> bytes:
    body = json.dumps(told).encode()
    return _HEAD.pack(len(body), Kind.MESSAGE) + body


def packet(one: Packet, stream: int, track: int) -> bytes:
    """Raises `LinkError` for what does not fit."""
    header = seal(one, stream=stream, term=0, track=track)
    size = len(header) + one.size_bytes
    return b"".join((_HEAD.pack(size, Kind.PACKET), header, one.data))


async def heard(reader: asyncio.StreamReader) -> AsyncIterator[dict[str, Any] | Envelope]:
    """What the other side says, until it is gone. Raises `LinkError` for nonsense."""
    while True:
        try:
            size, kind = _HEAD.unpack(await reader.readexactly(_HEAD.size))
            if size > (MOST_MESSAGE if kind == Kind.MESSAGE else HEADER_BYTES + LARGEST_BYTES):
                raise LinkError(f"a message of {size} bytes")
            body = await reader.readexactly(size)
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        if kind == Kind.MESSAGE:
            yield json.loads(body)
        else:
            yield opened(body[:HEADER_BYTES], body[HEADER_BYTES:])


def place(answer: Mapping[str, Any]) -> str:
    """Where the session is that an answer tells of (201)."""
    location = next(value for name, value in answer["headers"] if name == "location")
    return str(location).partition("?")[0]
