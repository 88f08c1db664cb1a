"""What one stream, one address and the whole server may have. Read again on SIGHUP."""

from __future__ import annotations

from pydantic import Field

from streamgen.config import Bitrate, Settings


class StreamLimits(Settings):
    bitrate: Bitrate = 12_000_000
    """Of the publisher; one that sends more for long is ended."""
    viewers: int = Field(default=500, ge=1)


class Connections(Settings):
    """Of one address, or of one IPv6 network of 64 bits. RTMP has limits of its own."""

    http: int = Field(default=512, ge=1)
    """Connections, and requests at a time. Behind a proxy all viewers have the proxy's address."""
    webrtc: int = Field(default=128, ge=1)
    """Sessions of WHIP and WHEP."""


class ServerLimits(Settings):
    """Of all streams together. Who comes beyond is refused; nobody who is in is sent away."""

    streams: int = Field(default=100, ge=1)
    viewers: int = Field(default=5000, ge=1)
    connections: Connections = Connections()
