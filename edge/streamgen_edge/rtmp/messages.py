"""The message: what RTMP carries in chunks (RTMP 1.0 sections 5.4 and 6, message types)."""

from __future__ import annotations

from dataclasses import dataclass

CHUNK_SIZE = 1
ABORT = 2
ACKNOWLEDGEMENT = 3
USER_CONTROL = 4
WINDOW_SIZE = 5
PEER_BANDWIDTH = 6
AUDIO = 8
VIDEO = 9
DATA_AMF3 = 15
SHARED_OBJECT_AMF3 = 16
COMMAND_AMF3 = 17
DATA = 18
SHARED_OBJECT = 19
COMMAND = 20
AGGREGATE = 22


@dataclass(slots=True)
class Message:
    """One whole message. The body belongs to whoever gets the message."""

    kind: int
    stream: int
    """Message stream id."""
    timestamp: int
    """Milliseconds modulo 2**32."""
    body: bytearray
