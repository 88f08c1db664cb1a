"""What one RTMP client may cost, and the one error that ends it."""

from __future__ import annotations

from pydantic import Field

from streamgen.config import Settings
from streamgen.errors import StreamGenError

KIB, MIB = 1 << 10, 1 << 20


class ProtocolError(StreamGenError):
    """The client broke the protocol or a limit: its connection is closed.

    The text is for the log and for the client. It never holds anything that the client wrote.
    """


class Limits(Settings):
    """Bounds of one connection, one address and the server. Sizes in bytes, times in seconds."""

    chunk_size: int = Field(default=MIB, ge=128)
    """Largest chunk size a client may set."""
    video_message: int = Field(default=10 * MIB, ge=KIB)
    """Largest video or aggregate message."""
    audio_message: int = Field(default=MIB, ge=KIB)
    """Largest audio message."""
    data_message: int = Field(default=MIB, ge=KIB)
    """Largest data message (metadata)."""
    command_message: int = Field(default=64 * KIB, ge=KIB)
    """Largest command, and largest message of any kind before publishing was accepted."""
    partial_bytes: int = Field(default=16 * MIB, ge=KIB)
    """Unfinished messages of one connection, all together."""
    chunk_streams: int = Field(default=64, ge=4)
    message_streams: int = Field(default=32, ge=1)
    commands: int = Field(default=512, ge=16)
    """Commands in the life of a connection, and messages that want an answer as they do."""
    values: int = Field(default=16_384, ge=16)
    """AMF values in the commands and metadata of a publisher at once; each second 1000 more."""
    unproven_values: int = Field(default=4096, ge=16)
    """The same before its publishing was accepted: all in all."""
    pings: int = Field(default=64, ge=1)
    """Ping requests of a connection at once; each second one more may come."""
    unproven_bytes: int = Field(default=256 * KIB, ge=8 * KIB)
    """Bytes a client may send before its publishing was accepted."""
    tracks: int = Field(default=8, ge=1)
    """Audio and video tracks of one publisher."""
    handshake_s: float = Field(default=5.0, gt=0)
    """From the connection to the end of the handshake, TLS included."""
    publish_s: float = Field(default=10.0, gt=0)
    """From the handshake to `publish`, for the owner's answer, and from that to the first media."""
    idle_s: float = Field(default=15.0, gt=0)
    """Without one complete message of sound or picture."""
    connections: int = Field(default=512, ge=1)
    connections_per_address: int = Field(default=64, ge=1)
    bytes_per_s_per_address: int = Field(default=64 * MIB, ge=16 * KIB)
    """Beyond this, reading waits: TCP slows the clients of that address down."""
    answer_bytes: int = Field(default=256 * KIB, ge=4 * KIB)
    """Answers a client may leave unread."""
