"""A stream of another edge as the API of this one tells of it. What is known only where it is made
is not in it: that is asked of its home."""

from __future__ import annotations

import time
from typing import Any

from streamgen.errors import ConfigError
from streamgen_edge.mirror.replica import Replica
from streamgen_edge.passport import OVER, Passport


def brief(copy: Replica, watching: int) -> dict[str, Any]:
    """What a list of streams shows; so many are `watching` here by WebRTC."""
    passport = _passport(copy)
    return {
        "name": copy.name,
        "session": copy.session,
        "state": "ended" if copy.over else "gap" if copy.alone else "live",
        "home": _home(copy),
        "pipeline": "" if passport is None else passport.pipeline.get("name", ""),
        "viewers": watching + copy.viewing.audience.count(time.monotonic()),
        "plays": bool(copy.viewing.tracks),
    }


def row(copy: Replica, watching: int) -> dict[str, Any]:
    """All that is known of it here."""
    passport = _passport(copy)
    return {
        **brief(copy, watching),
        "error": None,
        "publisher": None,
        "worker": None,
        "pipeline": {} if passport is None else passport.pipeline,
        "params": {} if passport is None else passport.params,
        "version": 0 if passport is None else passport.version,
        "hls": f"/hls/{copy.name}/index.m3u8",
        "tracks": [track.name for track in copy.viewing.tracks],
        "pushes": [],
        "recording": None,
        "stats": {},
    }


def _home(copy: Replica) -> str | None:
    return copy.home.edge or None if copy.home is not None else None


def _passport(copy: Replica) -> Passport | None:
    """What its home has said of it."""
    text = "" if copy.home is None else copy.home.passport
    if text in ("", OVER):
        return None
    try:
        return Passport.read(text)
    except ConfigError:  # of another version
        return None
