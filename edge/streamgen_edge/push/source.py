"""What of a session a target can get: its rungs in the order of preference, and its sound."""

from __future__ import annotations

from collections.abc import Sequence

from streamgen.deliver.rtp import BASELINE, profile_and_level
from streamgen.errors import ConfigError
from streamgen_edge.attachment import OutTrack
from streamgen_edge.outbound.url import Url
from streamgen_edge.push.settings import PushSettings
from streamgen_edge.push.target import by_rtmp


def offered(tracks: Sequence[OutTrack], settings: PushSettings) -> list[OutTrack]:
    """The rung that is wanted, then those that stand in for it: smaller ones, then larger ones.

    Raises `ConfigError` where there is none.
    """
    rungs = [one for one in tracks if one.kind == "video"]
    at = 0
    if settings.rung is not None:
        names = [one.name.removeprefix("video/") for one in rungs]
        if settings.rung not in names:
            raise ConfigError(f"there is no rung '{settings.rung}'")
        at = names.index(settings.rung)
    fitting = [one for one in rungs[at:] + rungs[:at][::-1] if _fits(one, settings.target)]
    named = settings.rung is not None and (not fitting or fitting[0] is not rungs[at])
    if named or not fitting:
        kind = "H.264" if by_rtmp(settings.target) else "Constrained Baseline, as WHIP needs it"
        raise ConfigError(f"{'this rung is not' if named else 'no rung is'} {kind}")
    return fitting


def _fits(track: OutTrack, target: Url) -> bool:
    if track.codec != "h264":
        return False
    found = None if by_rtmp(target) else profile_and_level(track.config)
    return found is None or found[0] == BASELINE


def sound_of(tracks: Sequence[OutTrack], target: Url) -> OutTrack | None:
    codec = "aac" if by_rtmp(target) else "opus"
    return next((one for one in tracks if one.kind == "audio" and one.codec == codec), None)
