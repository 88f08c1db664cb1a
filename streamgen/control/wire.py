"""What edge and worker say to each other, and over which sockets.

Two ZeroMQ sockets on each side: *media* (`media/envelope.py`) and *control*, small JSON, so that
control never waits behind media. Between processes of one machine they lie in a folder that only
their user can enter. Nobody ever blocks on them: what a peer does not take waits in a queue of
ours, where the stream it belongs to is known (`media/credit.py`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import zmq

from streamgen.media.envelope import LinkError

HIGH_WATER = 16
"""Messages that a socket may hold: more would be video that nobody can take back."""
CONTROL_HIGH_WATER = 1_000
BEAT_S = 0.25
"""Both sides say that they live."""
DEAD_S = 3.0
"""A side that was silent for so long is gone."""
MOST_CONTROL_BYTES = 1 << 20
Message = Mapping[str, Any]


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
    if socket.type == zmq.ROUTER:
        socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
        # A worker that is started again under its name takes the place of its dead self.
        socket.setsockopt(zmq.ROUTER_HANDOVER, 1)


def encoded(message: Message) -> bytes:
    return json.dumps(message, separators=(",", ":")).encode()


def decoded(data: bytes) -> dict[str, Any]:
    """One control message. Raises `LinkError`."""
    if len(data) > MOST_CONTROL_BYTES:
        raise LinkError(f"a control message of {len(data)} bytes")
    try:
        message = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise LinkError("a control message that is not JSON") from error
    if not isinstance(message, dict) or not isinstance(message.get("type"), str):
        raise LinkError("a control message without a type")
    return message
