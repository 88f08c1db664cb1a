"""What edge and worker say to each other, and over which sockets.

Two ZeroMQ sockets on each side: *media* (`media/envelope.py`) and *control*, small JSON, so that
control never waits behind media. Between processes of one machine they lie in a folder that only
their user can enter; between machines they are two TCP ports with keys (`keys.py`). Nobody ever
blocks on them: what a peer does not take waits in a queue of ours, where the stream it belongs to
is known (`media/credit.py`).
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import zmq

from streamgen.control.keys import LinkKey
from streamgen.errors import ConfigError
from streamgen.media.envelope import LARGEST_BYTES, LinkError

HIGH_WATER = 16
"""Messages that a socket may hold: more would be video that nobody can take back."""
CONTROL_HIGH_WATER = 1_000
BEAT_S = 0.25
"""Both sides say that they live."""
SILENT_S = 1.25
"""A worker that was silent for so long loses its streams, where another one can take them over
(`streamgen_edge.silence`). Viewers are to have pictures again within two seconds, and the takeover
takes some tenths of a second of them. One that misses two beats, as its machine gives it no
processor for half a second, is not heard for 0.75 s: it has half a second more."""
DEAD_S = 3.0
"""A side that was silent for so long is gone, wherever its streams may go."""
MOST_CONTROL_BYTES = 1 << 20
LARGEST_MESSAGE_BYTES = LARGEST_BYTES + (1 << 20)
_TCP = re.compile(r"(?:tcp://)?(\[[0-9a-fA-F:]+\]|[^:\[\]/]+):(\d{1,5})")
Message = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Place:
    """Where the two sockets of an edge are."""

    media: str
    control: str
    keyed: bool = False
    """Others can reach it: nobody talks there without keys."""

    @classmethod
    def in_folder(cls, folder: Path) -> Place:
        return cls(media_address(folder), control_address(folder))

    @classmethod
    def at(cls, address: str) -> Place:
        """`host:port`, and the port above it; with or without `tcp://`. Raises `ConfigError`."""
        match = _TCP.fullmatch(address)
        if match is None or not 0 < int(match[2]) < 65535:
            raise ConfigError(
                f"not an address of a link: '{address}' (write 10.0.0.5:7000; it takes two ports)"
            )
        host, port = match[1], int(match[2])
        return cls(f"tcp://{host}:{port}", f"tcp://{host}:{port + 1}", keyed=True)


def media_address(folder: Path) -> str:
    return f"ipc://{folder}/media"


def control_address(folder: Path) -> str:
    return f"ipc://{folder}/control"


def prepare(socket: Any, *, control: bool) -> None:
    """Bounded, never lingering, loud about peers that are not there."""
    mark = CONTROL_HIGH_WATER if control else HIGH_WATER
    socket.setsockopt(zmq.SNDHWM, mark)
    socket.setsockopt(zmq.RCVHWM, mark)
    socket.setsockopt(zmq.LINGER, 0)
    socket.setsockopt(zmq.MAXMSGSIZE, LARGEST_MESSAGE_BYTES)
    if socket.type == zmq.ROUTER:
        socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
        # A worker that is started again under its name takes the place of its dead self.
        socket.setsockopt(zmq.ROUTER_HANDOVER, 1)


def prove(socket: Any, key: LinkKey, *, edge: bytes | None = None) -> None:
    """Encrypt, and show this key to the peer. `edge` is the public key that the edge must have;
    None: we are the edge."""
    socket.setsockopt(zmq.IPV6, 1)
    socket.setsockopt(zmq.CURVE_PUBLICKEY, key.public)
    socket.setsockopt(zmq.CURVE_SECRETKEY, key.secret)
    if edge is None:
        socket.setsockopt(zmq.CURVE_SERVER, 1)
        socket.setsockopt(zmq.ZAP_DOMAIN, b"link")
    else:
        socket.setsockopt(zmq.CURVE_SERVERKEY, edge)


def encoded(message: Message) -> bytes:
    return json.dumps(message, separators=(",", ":")).encode()


def _finite(text: str) -> float:
    """What neither side ever sends, and what no whole number can be made of."""
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(text)
    return number


def decoded(data: bytes) -> dict[str, Any]:
    """One control message. Raises `LinkError`."""
    if len(data) > MOST_CONTROL_BYTES:
        raise LinkError(f"a control message of {len(data)} bytes")
    try:
        message = json.loads(data, parse_float=_finite, parse_constant=_finite)
    except (ValueError, RecursionError) as error:
        raise LinkError("a control message that is not JSON") from error
    if not isinstance(message, dict) or not isinstance(message.get("type"), str):
        raise LinkError("a control message without a type")
    return message
