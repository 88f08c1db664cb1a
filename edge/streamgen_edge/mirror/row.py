"""A stream of another edge as the API of this one tells of it: in a few words. All that is known of
it is asked of its home."""

from __future__ import annotations

import time
from typing import Any

from streamgen_edge.mirror.replica import Replica


def row(copy: Replica, watching: int) -> dict[str, Any]:
    """So many are `watching` here by WebRTC."""
    viewing = copy.viewing
    state = "ended" if copy.over else "gap" if copy.alone else "live"
    return {
        "name": copy.name,
        "session": copy.session,
        "state": state,
        "home": copy.home.edge if copy.home is not None and copy.home.edge else None,
        "viewers": watching + viewing.audience.count(time.monotonic()),
        "plays": bool(viewing.tracks),
        "hls": f"/hls/{copy.name}/index.m3u8",
        "tracks": [track.name for track in viewing.tracks],
    }
