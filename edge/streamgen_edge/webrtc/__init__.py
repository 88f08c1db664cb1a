"""WHIP and WHEP: publishing and playing by WebRTC over plain HTTP (RFC 9725, WHEP draft 02)."""

from streamgen_edge.webrtc.app import WebRtcApp
from streamgen_edge.webrtc.served import webrtc_app

__all__ = ["WebRtcApp", "webrtc_app"]
