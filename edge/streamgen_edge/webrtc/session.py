"""`Session`: one peer, and what its client was told; who may have one, and how many."""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import dataclass

from aiortc import RTCPeerConnection

from streamgen_edge.webrtc.whep import Viewing
from streamgen_edge.webrtc.whip import Incoming


@dataclass(frozen=True, slots=True)
class Viewer:
    """Who wants to play (`may_play`)."""

    stream: str
    token: str | None
    address: str | None


@dataclass(frozen=True, slots=True)
class Share:
    """What one stream may use."""

    bitrate_bps: int = 12_000_000
    viewers: int = 500


@dataclass(slots=True, eq=False)
class Session:
    """One peer, by the place its client was told."""

    place: str
    stream: str
    peer: RTCPeerConnection
    etag: str
    media: Viewing | Incoming
    token: str | None
    """What its client showed; who changes or ends the session shows it again."""
    address: str
    deadline: asyncio.TimerHandle | None = None
    fault: str = ""


def new_place(protocol: str, stream: str) -> str:
    """Nobody can guess it."""
    return f"/{protocol}/{stream}/{secrets.token_urlsafe(16)}"


def new_etag() -> str:
    return f'"{secrets.token_hex(8)}"'
