"""Packets as RTMP carries them: FLV tag bodies (Adobe FLV 10.1, annex E.4; AVC and AAC only)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fractions import Fraction
from typing import Any

from streamgen.deliver.h264 import access_unit, parameters
from streamgen.media.packet import Packet
from streamgen_edge.rtmp.messages import AUDIO, VIDEO

MASK32 = 0xFFFFFFFF
_KEY, _INTER = 0x17, 0x27
_AAC = 0xAF
_HEADER, _DATA = 0, 1
_AVC_ID, _AAC_ID = 7, 10

Tag = tuple[int, int, bytes]
"""Message type, milliseconds, body."""


class Tags:
    """Of one connection: time begins at its first key frame, and goes back on no track."""

    def __init__(self, sound: Mapping[str, Any] | None) -> None:
        """`sound` is what the order says of it."""
        self._sound = sound
        self._config = b"" if sound is None else bytes.fromhex(sound["config"])
        self._sets = (b"", b"")
        self._zero: int | None = None
        self._last = {VIDEO: 0, AUDIO: 0}

    def of(self, packet: Packet) -> Iterator[Tag]:
        if packet.track.startswith("video/"):
            yield from self._picture(packet)
        elif self._zero is not None and self._config:
            at = _ms(packet.dts, packet.time_base) - self._zero
            if at >= 0:
                yield AUDIO, self._forward(AUDIO, at), bytes((_AAC, _DATA)) + bytes(packet.data)

    def _forward(self, kind: int, at: int) -> int:
        at = self._last[kind] = max(at, self._last[kind])
        return at & MASK32

    def _picture(self, packet: Packet) -> Iterator[Tag]:
        unit = access_unit(bytes(packet.data))
        if not unit.sample or (self._zero is None and not (packet.keyframe and unit.sps)):
            return
        due = _ms(packet.dts, packet.time_base)
        first = self._zero is None
        if self._zero is None:
            self._zero = due
        at = self._forward(VIDEO, due - self._zero)
        if unit.sps and unit.pps and (unit.sps, unit.pps) != self._sets:
            self._sets = (unit.sps, unit.pps)
            head = bytes((_KEY, _HEADER, 0, 0, 0))
            yield VIDEO, at, head + parameters(unit.sps, unit.pps).record()
        if first and self._config:
            yield AUDIO, 0, bytes((_AAC, _HEADER)) + self._config
        shift = _ms(packet.pts, packet.time_base) - due
        head = bytes((_KEY if packet.keyframe else _INTER, _DATA))
        yield VIDEO, at, head + shift.to_bytes(3, "big", signed=True) + unit.sample


def _ms(time: int | None, base: Fraction) -> int:
    return (time or 0) * 1000 * base.numerator // base.denominator


def on_meta_data(order: Mapping[str, Any], key_frame: bytes) -> dict[str, Any]:
    """What players and servers look at before the first picture.

    Raises `OutputError` for a key frame with broken parameter sets.
    """
    unit = access_unit(key_frame)
    width, height = parameters(unit.sps, unit.pps).display
    values: dict[str, Any] = {"videocodecid": _AVC_ID, "encoder": "streamgen"}
    values |= {"width": width, "height": height, "videodatarate": order["bitrate_bps"] / 1000}
    if order["rate"]:
        values["framerate"] = order["rate"]
    sound = order["sound"]
    if sound is not None:
        values |= {
            "audiocodecid": _AAC_ID,
            "audiodatarate": sound["bitrate_bps"] / 1000,
            "audiosamplerate": sound["rate_hz"],
            "audiosamplesize": 16,
            "stereo": sound["channels"] == 2,
        }
    return values
