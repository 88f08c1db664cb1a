"""Which rung a viewer gets: what it asks for, as far as its decoder goes (RFC 6184, 8.1)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from streamgen.deliver.rtp import BASELINE, profile_and_level
from streamgen_edge.webrtc.channel import TrackFacts

_SIZE = re.compile(r"(\d{1,5})x(\d{1,5})")


class NoRung(ValueError):
    """Nothing fits; the text is for the client."""


def choose(tracks: Sequence[TrackFacts], level: int, asked: Mapping[str, str]) -> TrackFacts:
    """The best rung up to a level: the one asked for by `rung`, the largest within `size`, or the
    top. Raises `NoRung`."""
    rungs = [one for one in tracks if one.kind == "video" and one.codec == "h264"]
    plain = [one for one in rungs if _fits(one, level)]
    name = asked.get("rung")
    if name is not None:
        named = [one for one in rungs if one.name.removeprefix("video/") == name]
        if not named:
            raise NoRung(f"there is no rung '{name[:32]}' here")
        if named[0] not in plain:
            raise NoRung(f"the rung '{name[:32]}' is beyond the profile and level of this offer")
        return named[0]
    if not plain:
        raise NoRung("no rung is Constrained Baseline within the level of this offer")
    plain.sort(key=lambda one: one.width * one.height, reverse=True)
    size = _SIZE.fullmatch(asked.get("size", ""))
    if size is not None:
        for one in plain:
            if one.width <= int(size[1]) and one.height <= int(size[2]):
                return one
        return plain[-1]
    return plain[0]


def _fits(track: TrackFacts, level: int) -> bool:
    found = profile_and_level(track.config)
    return found is None or (found[0] == BASELINE and found[1] <= level)
