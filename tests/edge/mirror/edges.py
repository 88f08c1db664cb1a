"""Edges that have each other's streams: the home of one, and others."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from streamgen.control.coordinator.homes import Home
from streamgen.control.guests import Guests
from streamgen.control.keys import LinkKey
from streamgen.deliver.grid import NS
from streamgen.deliver.live import LiveSettings
from streamgen.media.packet import Packet
from streamgen.telemetry import Metrics, Telemetry
from streamgen_edge.attachment import OutTrack
from streamgen_edge.hls import HlsApp, hls_app
from streamgen_edge.link import Link
from streamgen_edge.mirror.door import MirrorDoor
from streamgen_edge.mirror.mirrors import Mirrors, address
from streamgen_edge.publishing import Streams
from streamgen_edge.settings import Server
from streamgen_edge.viewing import Viewing
from tests.deliver.live_packets import live_audio, live_video, mixed
from tests.edge.hls.asking import Answer, ask

NAME, SESSION, UNIX_NS = "cam", "s" * 22, 1_700_000_000 * NS
SHORT = LiveSettings(window_ns=4 * NS)
SECONDS = 12
WITHIN_S = 30.0
TOP = f"/hls/{NAME}/index.m3u8"
RUNG = f"/hls/{NAME}/{SESSION}/180p"
Tape = tuple[list[OutTrack], list[Packet]]


async def until(holds: Callable[[], Any], what: str = "") -> None:
    ends = time.monotonic() + WITHIN_S
    while not holds():
        assert time.monotonic() < ends, f"not within {WITHIN_S:g} s: {what}"
        await asyncio.sleep(0.01)


def tape() -> Tape:
    """Two rungs and sound, in the order of their times."""
    lines = [
        live_video("video/180p", size=(320, 180), seconds=SECONDS),
        live_video("video/90p", seconds=SECONDS),
        live_audio("audio/aac", seconds=SECONDS),
    ]
    tracks = []
    for track, packets in lines:
        kind = "video" if track.video else "audio"
        rate = Fraction(30) if track.video else None
        facts = (track.bitrate_bps, track.rate_hz, track.channels, track.config)
        tracks.append(OutTrack(track.name, kind, track.codec, 320, 180, rate, *facts))
        for at, packet in enumerate(packets):
            assert packet.track == track.name, at
    return tracks, mixed(*(packets for _, packets in lines))


@dataclass
class Shown:
    """A stream that has its home here, as far as others see it."""

    viewing: Viewing
    name: str = NAME
    session: str = SESSION
    over: bool = False

    @property
    def telemetry(self) -> Telemetry:
        return self.viewing.telemetry


class HomeEdge:
    """Packets come in, other edges to its door."""

    def __init__(
        self,
        folder: Path,
        tracks: list[OutTrack],
        packets: list[Packet],
        at: str = "",
        key: LinkKey | None = None,
        guests: Guests | None = None,
    ) -> None:
        """At a port, or in its folder."""
        self.place, self.key = at or str(folder), key
        self.own = Telemetry()
        self.stream: Shown | None = None
        self.asked: list[str] = []
        self.requests: list[Mapping[str, Any]] = []
        self.door = MirrorDoor(address(self.place), self, self.answer, self.own, self.key, guests)
        self.viewing = Viewing(Telemetry(), SHORT)
        self.tracks = tracks
        self.packets = list(packets)

    def begin(self, session: str = SESSION, *, begun: bool = False) -> None:
        if not begun:
            self.viewing.begin(session, UNIX_NS, self.tracks)
        self.stream = Shown(self.viewing, session=session)

    def send(self, until_s: float) -> None:
        """What a worker gives before this time."""
        while self.packets and self.packets[0].time_s < until_s:
            self.viewing.put(self.packets.pop(0))

    def skip(self, until_s: float) -> None:
        self.packets = [packet for packet in self.packets if packet.time_s >= until_s]

    @property
    def app(self) -> HlsApp:
        assert self.viewing.packager is not None
        return hls_app({NAME: self.viewing.packager}, anyone)

    @property
    def wants(self) -> list[str]:
        """What others want here, in words."""
        wants = [want for guest in self.door.guests.values() for want in guest.wants.values()]
        return sorted(f"{want.what.value} {want.track}".strip() for want in wants)

    # `mirror.door.Homes`.

    def find(self, name: str, /) -> Shown | None:
        return self.stream if name == NAME else None

    def request_keyframe(self, name: str, reason: str, /) -> None:
        self.asked.append(f"{name} {reason}")

    async def answer(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        self.requests.append(request)
        return {"status": 204, "headers": [], "body": ""}


async def anyone(viewer: Any) -> int | None:
    return None


class Word:
    """Says where the stream is, as the coordinators do (`mirror.mirrors.Seeking`)."""

    def __init__(self) -> None:
        self.sought: dict[str, Callable[[Home], None]] = {}
        self.homes: dict[str, Home] = {}
        self._epoch = 0

    edge = "edge-b"

    def seek(self, stream: str, changed: Callable[[Home], None], /) -> None:
        self.sought[stream] = changed
        home = self.homes.get(stream, Home(stream, "", 0))
        asyncio.get_running_loop().call_soon(lambda: self._tell(home))

    def forget(self, stream: str, /) -> None:
        self.sought.pop(stream, None)

    def moved(self, to: HomeEdge | None, edge: str = "edge-a") -> None:
        self._epoch += 1
        place = "" if to is None else to.place
        key = "" if to is None or to.key is None else to.key.public.hex()
        home = self.homes[NAME] = Home(NAME, edge, self._epoch, place, key)
        self._tell(home)

    def _tell(self, home: Home) -> None:
        changed = self.sought.get(home.stream)
        if changed is not None:
            changed(home)


@dataclass
class OtherEdge:
    """An edge with viewers of streams that are elsewhere."""

    streams: Streams
    mirrors: Mirrors
    word: Word
    own: Telemetry
    metrics: Metrics

    def __post_init__(self) -> None:
        viewers = self.streams.viewers
        viewers.copies = self.mirrors
        self.app = hls_app(viewers, viewers.may_play, demand=viewers.demand)

    def level(self, with_: HomeEdge, places: Collection[str] = ()) -> bool:
        """All that has been published there is here; of these renditions, or else of those that
        somebody here has asked for."""
        copy, original = self.mirrors.find(NAME), with_.viewing.packager
        if copy is None or original is None or copy.viewing.packager is None:
            return False
        ours, theirs = copy.viewing.packager.renditions, original.renditions
        return all(
            (ours[place].window.following(), ours[place].window.ended)
            == (one.window.following(), one.window.ended)
            for place, one in theirs.items()
            if (place in places if places else ours[place].window.pieces)
        )

    async def get(self, path: str, query: str = "") -> Answer:
        return await ask(self.app, path, query)


@asynccontextmanager
async def other(
    folder: Path, grace_s: float = 20.0, key: LinkKey | None = None
) -> AsyncIterator[OtherEdge]:
    own, word, metrics = Telemetry(), Word(), Metrics()
    await asyncio.to_thread(folder.mkdir, 0o700)
    async with Link(folder) as link:
        streams = Streams(Server(), link, metrics, time.time_ns, own)
        async with Mirrors(word, lambda name: grace_s, own, metrics, key) as mirrors:
            yield OtherEdge(streams, mirrors, word, own, metrics)


@asynccontextmanager
async def home(
    folder: Path, tracks: list[OutTrack], packets: list[Packet], **door: Any
) -> AsyncIterator[HomeEdge]:
    await asyncio.to_thread(folder.mkdir, 0o700)
    one = HomeEdge(folder, tracks, packets, **door)
    async with one.door:
        yield one


async def same(one: HomeEdge, *others: OtherEdge, place: str = RUNG, query: str = "") -> str:
    """A playlist that reads the same everywhere, once all has come."""
    asked = [place.rpartition("/")[2]]
    for edge in others:
        await edge.get(f"{place}/index.m3u8")
        await until(lambda edge=edge: edge.level(one, asked), "all has come")  # type: ignore[misc]
    (first, *rest) = await asyncio.gather(
        ask(one.app, f"{place}/index.m3u8", query),
        *(edge.get(f"{place}/index.m3u8", query) for edge in others),
    )
    assert first.status == 200, first.text
    for answer in rest:
        assert (answer.status, answer.text) == (200, first.text)
        assert answer.headers["etag"] == first.headers["etag"]
    return first.text
