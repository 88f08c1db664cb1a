"""Which rung a viewer gets: what it asks for, as far as its decoder goes (RFC 6184, 8.1)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from streamgen.deliver.rtp import BASELINE, profile_and_level
from streamgen_edge.webrtc.channel import TrackFacts

AUTO = "auto"
_SIZE = re.compile(r"(\d{1,5})x(\d{1,5})")


class NoRung(ValueError):
    """Nothing fits; the text is for the client."""


def choose(tracks: Sequence[TrackFacts], level: int, asked: Mapping[str, str]) -> list[TrackFacts]:
    """The rungs that a viewer may have, the largest first: only the one asked for by `rung`, those
    within `size`, or all up to its level. Raises `NoRung`."""
    rungs = [one for one in tracks if one.kind == "video" and one.codec == "h264"]
    plain = [one for one in rungs if _fits(one, level)]
    name = asked.get("rung")
    if name is not None and name != AUTO:
        named = [one for one in rungs if one.name.removeprefix("video/") == name]
        if not named:
            raise NoRung(f"there is no rung '{name[:32]}' here")
        if named[0] not in plain:
            raise NoRung(f"the rung '{name[:32]}' is beyond the profile and level of this offer")
        return [named[0]]
    if not plain:
        raise NoRung("no rung is Constrained Baseline within the level of this offer")
    plain.sort(key=lambda one: one.width * one.height, reverse=True)
    size = _SIZE.fullmatch(asked.get("size", ""))
    if size is not None:
        width, height = int(size[1]), int(size[2])
        return [one for one in plain if one.width <= width and one.height <= height] or plain[-1:]
    return plain


def _fits(track: TrackFacts, level: int) -> bool:
    found = profile_and_level(track.config)
    return found is None or (found[0] == BASELINE and found[1] <= level)
