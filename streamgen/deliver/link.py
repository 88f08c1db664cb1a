"""`LinkOutlet`: what a live session's encoders give, on its way to the edge.

The only output of a worker. Every IDR carries its parameter sets, so a viewer can begin at any of
them, and the tracks are announced before the first packet.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

from streamgen.media.packet import Packet
from streamgen.media.tracks import EncodedTrack

_IN_BAND = frozenset({"h264", "hevc"})
"""Codecs whose parameter sets go along with every key frame."""
_SEI = {"h264": 6, "hevc": 39}
_KINDS = frozenset({"video", "audio"})


class Sending(Protocol):
    """The link, as one stream sees it. Never waits."""

    def announce(self, tracks: Sequence[Mapping[str, Any]]) -> None: ...

    def send(self, track: int, packet: Packet) -> None: ...

    def end(self) -> None: ...

    def broke(self, track: int) -> None: ...


class LinkOutlet:
    """`protocols.Outlet`. `after` holds, by track, the last PTS that viewers have already."""

    def __init__(self, link: Sending, *, after: Mapping[str, int] | None = None) -> None:
        self.dropped_tracks: list[str] = []
        self._link = link
        self._after = dict(after or {})
        self._numbers: dict[str, int] = {}
        self._sets: dict[str, bytes] = {}
        self._open = False

    def takes(self, codec: str) -> bool:
        """Sound is always encoded anew here (`encode/live.py`); nothing passes as it is."""
        return False

    def open(self, tracks: Sequence[EncodedTrack]) -> None:
        carried = [track for track in tracks if track.kind in _KINDS]
        self._numbers = {track.name: number for number, track in enumerate(carried)}
        for track in carried:
            if track.codec in _IN_BAND:
                self._sets[track.name] = _parameter_sets(track)
        self._link.announce([described(track) for track in carried])
        self._open = True

    def write(self, packet: Packet) -> None:
        number = self._numbers.get(packet.track)
        if number is None or not self._open:
            return
        pts = packet.pts or 0
        if pts <= self._after.get(packet.track, pts - 1):
            return  # the worker before this one has sent it
        data = bytes(packet.data)
        if packet.keyframe and packet.track in self._sets:
            data = self._sets[packet.track] + data
        self._link.send(number, replace(packet, data=data))

    def drop(self, track: str) -> None:
        number = self._numbers.pop(track, None)
        if number is not None:
            self._link.broke(number)

    def finish(self) -> None:
        if self._open:
            self._open = False
            self._link.end()

    def abort(self) -> None:
        self._open = False


def described(track: EncodedTrack) -> dict[str, Any]:
    """A track as the edge is told of it, in plain values."""
    return {
        "name": track.name,
        "kind": track.kind,
        "codec": track.codec,
        "time_base": [track.time_base.numerator, track.time_base.denominator],
        "width": track.width,
        "height": track.height,
        "rate": None if track.rate is None else [track.rate.numerator, track.rate.denominator],
        "sar": [track.sar.numerator, track.sar.denominator],
        "rotation": track.rotation,
        "bitrate_bps": track.bitrate_bps,
        "rate_hz": track.rate_hz,
        "channels": track.channels,
        "priming": track.priming,
        "extradata": bytes(track.template.codec_context.extradata or b"").hex(),
    }


def _parameter_sets(track: EncodedTrack) -> bytes:
    """SPS and PPS (VPS) in Annex B, without what else an encoder writes about itself."""
    extradata = bytes(track.template.codec_context.extradata or b"")
    kept = b""
    for unit in extradata.replace(b"\x00\x00\x00\x01", b"\x00\x00\x01").split(b"\x00\x00\x01"):
        if unit:
            kind = unit[0] & 0x1F if track.codec == "h264" else unit[0] >> 1 & 0x3F
            if kind != _SEI[track.codec]:
                kept += b"\x00\x00\x00\x01" + unit
    return kept
