"""Packets as a worker sends them to the edge: Annex B with parameter sets in each IDR, raw AAC."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import Any

from streamgen.deliver.rendition import LiveTrack
from streamgen.media.packet import Packet

from .conftest import Encoded, encode_audio, encode_video

LOW_DELAY = {
    "preset": "ultrafast",
    "tune": "zerolatency",
    "forced-idr": "1",
    "x264-params": "keyint=9999:scenecut=0",
}


def live_video(
    name: str = "video/90p",
    *,
    size: tuple[int, int] = (160, 90),
    rate: int = 30,
    seconds: float = 6,
    **more: Any,
) -> tuple[LiveTrack, list[Packet]]:
    """A rung with a key frame every half second."""
    step = 90_000 // rate
    facts = {"options": LOW_DELAY, "times": range(0, round(seconds * 90_000), step)} | more
    done = encode_video(name, size=size, key_every=rate // 2, rate=Fraction(rate), **facts)
    return LiveTrack(name, "h264", 200_000, Fraction(rate)), with_parameters(done)


def with_parameters(done: Encoded) -> list[Packet]:
    sets = bytes(done.track.template.codec_context.extradata)
    return [
        replace(packet, data=(sets if packet.keyframe else b"") + bytes(packet.data))
        for packet in done.packets
    ]


def live_audio(name: str = "audio/0", *, seconds: float = 6) -> tuple[LiveTrack, list[Packet]]:
    done = encode_audio(name, seconds=seconds)
    config = bytes(done.track.template.codec_context.extradata)
    packets = [replace(packet, data=bytes(packet.data)) for packet in done.packets]
    return LiveTrack(name, "aac", 128_000, config=config), packets


def mixed(*lines: list[Packet]) -> list[Packet]:
    """In the order of their times, as a worker sends them."""
    return sorted((packet for line in lines for packet in line), key=lambda packet: packet.time_s)


def moved(packets: list[Packet], seconds: float) -> list[Packet]:
    """The same packets, later."""
    found = []
    for packet in packets:
        by = round(Fraction(seconds) / packet.time_base)
        assert packet.pts is not None
        assert packet.dts is not None
        found.append(replace(packet, pts=packet.pts + by, dts=packet.dts + by))
    return found
