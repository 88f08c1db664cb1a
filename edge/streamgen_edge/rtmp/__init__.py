"""RTMP and RTMPS in: our own server, for OBS, FFmpeg, GStreamer and every other encoder.

In the order of the bytes: `handshake`, `chunk_reader`, `amf0` and `amf3`, `session` (all pure);
`tags`, `demux` (payloads to tracks and packets); `tls`; `connection`, `server` (sockets and
time-outs); `admission`, `notices` (what strangers may cost).
"""

from __future__ import annotations

from streamgen_edge.certificate import tls_context
from streamgen_edge.rtmp.address import Publish
from streamgen_edge.rtmp.demux import Track
from streamgen_edge.rtmp.limits import Limits, ProtocolError
from streamgen_edge.rtmp.publisher import Ended, OnPublish, Publisher, Refused, Sink
from streamgen_edge.rtmp.server import RtmpServer

__all__ = [
    "Ended",
    "Limits",
    "OnPublish",
    "ProtocolError",
    "Publish",
    "Publisher",
    "Refused",
    "RtmpServer",
    "Sink",
    "Track",
    "tls_context",
]
