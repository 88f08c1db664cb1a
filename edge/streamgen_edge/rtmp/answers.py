"""What the server says: results and statuses as OBS, FFmpeg, librtmp and GStreamer expect them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from streamgen_edge.rtmp import chunk_writer
from streamgen_edge.rtmp.chunk_writer import STREAM_BEGIN, command, user_control

WINDOW = 2_500_000
"""Bytes after which either side acknowledges."""
VIDEO_CODECS = ("avc1", "hvc1", "av01", "vp09")
AUDIO_CODECS = ("mp4a", "Opus", "ac-3", "ec-3", "fLaC", ".mp3")
_FORWARD = 4
"""fourCcInfoMap: passed on, neither decoded nor encoded here."""
RECONNECT, MULTITRACK, MODEX, NANOSECONDS = 1, 2, 4, 8
_CAPABILITIES = RECONNECT | MULTITRACK | MODEX | NANOSECONDS


def connected(transaction: float, asked: Mapping[str, Any]) -> bytes:
    """The answer to `connect` (RTMP 1.0 section 7.2.1.1; E-RTMP v2, enhancing connect)."""
    offered = _enhanced(asked)
    properties = {"fmsVer": "FMS/3,5,7,7009", "capabilities": 31, "mode": 1, **offered}
    information = {
        "level": "status",
        "code": "NetConnection.Connect.Success",
        "description": "Connection succeeded.",
        "objectEncoding": 0,
        **offered,
    }
    return (
        chunk_writer.window_size(WINDOW)
        + chunk_writer.peer_bandwidth(WINDOW)
        + chunk_writer.chunk_size()
        + command(0, ["_result", transaction, properties, information])
    )


def _enhanced(asked: Mapping[str, Any]) -> dict[str, Any]:
    """Codecs and capabilities, for clients that named theirs: others are not confused by them."""
    offered: dict[str, Any] = {}
    codecs = VIDEO_CODECS + AUDIO_CODECS
    listed = asked.get("fourCcList")
    if isinstance(listed, list):
        named = {item for item in listed if isinstance(item, str)}
        offered["fourCcList"] = [c for c in codecs if "*" in named or c in named]
    if "videoFourCcInfoMap" in asked:
        offered["videoFourCcInfoMap"] = dict.fromkeys(VIDEO_CODECS, _FORWARD)
    if "audioFourCcInfoMap" in asked:
        offered["audioFourCcInfoMap"] = dict.fromkeys(AUDIO_CODECS, _FORWARD)
    if "capsEx" in asked:
        offered["capsEx"] = _CAPABILITIES
    return offered


def rejected(transaction: float, reason: str) -> bytes:
    """`connect` refused; librtmp knows no other code for it."""
    info = {"level": "error", "code": "NetConnection.Connect.InvalidApp", "description": reason}
    return chunk_writer.chunk_size() + command(0, ["_error", transaction, None, info])


def result(transaction: float, *values: Any) -> bytes:
    return command(0, ["_result", transaction, None, *values])


def failed(transaction: float) -> bytes:
    """The answer to a command that is not known here."""
    info = {
        "level": "error",
        "code": "NetConnection.Call.Failed",
        "description": "This server does not know the command.",
    }
    return command(0, ["_error", transaction, None, info])


def status(stream: int, code: str, reason: str, *, level: str = "status") -> bytes:
    """`onStatus` on a message stream."""
    info = {"level": level, "code": code, "description": reason}
    return command(stream, ["onStatus", 0, None, info])


def publish_started(stream: int, name: str) -> bytes:
    begun = user_control(STREAM_BEGIN, stream)
    return begun + status(stream, "NetStream.Publish.Start", f"{name} is now published.")


def publish_refused(stream: int, reason: str) -> bytes:
    return status(stream, "NetStream.Publish.Denied", reason, level="error")


def unpublished(stream: int, name: str) -> bytes:
    """After the client's own end."""
    info = {"code": "NetStream.Unpublish.Success", "description": name}
    return command(stream, ["onFCUnpublish", 0, None, info]) + status(
        stream, "NetStream.Unpublish.Success", "The stream has ended."
    )


def fc_published(name: str) -> bytes:
    info = {"code": "NetStream.Publish.Start", "description": name}
    return command(0, ["onFCPublish", 0, None, info])


def play_refused(stream: int) -> bytes:
    reason = "RTMP is for publishing only here: watch by WHEP or HLS."
    return status(stream, "NetStream.Play.Failed", reason, level="error")


def reconnect_request(url: str | None) -> bytes:
    """E-RTMP v2, reconnect request: come again, there or here, then leave."""
    info = {
        "level": "status",
        "code": "NetConnection.Connect.ReconnectRequest",
        "description": "This server is about to stop.",
    }
    return command(0, ["onStatus", 0, None, info | ({"tcUrl": url} if url else {})])
