"""All targets by name."""

from __future__ import annotations

from tests.fuzz import rtmp, server, webrtc
from tests.fuzz.target import Target

TARGETS: dict[str, Target] = {
    target.name: target for target in (*rtmp.TARGETS, *webrtc.TARGETS, *server.TARGETS)
}
