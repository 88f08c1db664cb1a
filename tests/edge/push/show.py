"""A session without workers: its packets, again and again in real time, and who pushes them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from functools import cache
from itertools import pairwise
from typing import Any

from streamgen.media.packet import Packet
from streamgen.telemetry import Telemetry
from streamgen_edge.attachment import OutTrack
from streamgen_edge.feed import Feed
from streamgen_edge.outbound.settings import OutboundSettings
from streamgen_edge.push.push import Push
from streamgen_edge.push.settings import PushSettings
from tests.deliver.conftest import encode_audio
from tests.deliver.live_packets import live_audio, live_video, mixed, moved

LOOPBACK = OutboundSettings(allow=("127.0.0.0/8",))
SECONDS = 8
"""Whole frames of both codecs of sound, so that the next turn begins where this one ends."""


def picture(name: str, size: tuple[int, int]) -> OutTrack:
    return OutTrack(name, "video", "h264", *size, None, 200_000, 0, 0, b"")


@cache
def recorded() -> tuple[list[OutTrack], list[Packet]]:
    """Two rungs and the sound, in the order in which a worker sends them."""
    _, large = live_video("video/180p", size=(320, 180), seconds=SECONDS)
    _, small = live_video("video/90p", size=(160, 90), seconds=SECONDS)
    track, sound = live_audio("audio/aac", seconds=SECONDS)
    done = encode_audio("audio/opus", codec="libopus", seconds=SECONDS)
    opus = [replace(packet, data=bytes(packet.data)) for packet in done.packets]
    tracks = [
        picture("video/180p", (320, 180)),
        picture("video/90p", (160, 90)),
        OutTrack("audio/aac", "audio", "aac", 0, 0, None, 128_000, 48_000, 2, track.config),
        OutTrack("audio/opus", "audio", "opus", 0, 0, None, 128_000, 48_000, 2, b""),
    ]
    return tracks, [one for one in mixed(large, small, sound, opus) if 0 <= one.time_s < SECONDS]


class Show:
    """`push.Source`. Packets are due from the moment that it `plays`."""

    def __init__(self) -> None:
        self.tracks, self._packets = recorded()
        self.feed = Feed()
        self.resting: set[str] = set()
        self.silent: set[str] = set()
        """Tracks of which nothing comes."""
        self.asked = 0
        self.turn = 0

    def ask(self) -> None:
        self.asked += 1

    async def play(self) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        while True:
            for packet in moved(self._packets, self.turn * SECONDS):
                late = began + packet.time_s - loop.time()
                if late > 0:
                    await asyncio.sleep(late)
                if packet.track not in self.silent:
                    self.feed.put(packet)
            self.turn += 1


@asynccontextmanager
async def playing() -> AsyncIterator[Show]:
    show = Show()
    task = asyncio.create_task(show.play())
    try:
        yield show
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


@asynccontextmanager
async def pushing(
    show: Show,
    url: str,
    *,
    outbound: OutboundSettings = LOOPBACK,
    via: Sequence[str] = (),
    command: Sequence[str] = (),
    **more: Any,
) -> AsyncIterator[Push]:
    settings = PushSettings(url=url, **more)
    push = Push("there", settings, outbound, {}, Telemetry(), via=via, command=command)
    push.follow(show, show.ask)
    try:
        yield push
    finally:
        push.end()
        task = push._task
        if task is not None:
            await asyncio.wait([task], timeout=10)
            assert task.done()


def lengths(packets: Sequence[Packet]) -> set[int]:
    """Between one and the next, in milliseconds."""
    times = [packet.time_s * 1000 for packet in packets]
    return {round(b - a) for a, b in pairwise(times)}
