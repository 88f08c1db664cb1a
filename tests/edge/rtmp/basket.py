"""An owner that lets publishers in and keeps what they send."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from streamgen.media.packet import Packet
from streamgen_edge.rtmp import Ended, Publisher, Refused, Track
from streamgen_edge.rtmp.publisher import Looped


@dataclass
class Basket:
    """A sink that keeps everything."""

    publisher: Publisher
    tracks: list[Track] = field(default_factory=list)
    packets: list[Packet] = field(default_factory=list)
    end: Ended | None = None
    room: int = 1 << 30
    done: asyncio.Event = field(default_factory=asyncio.Event)

    def track(self, track: Track) -> None:
        self.tracks.append(track)

    def packet(self, packet: Packet) -> bool:
        if len(self.packets) >= self.room:
            return False
        self.packets.append(packet)
        return True

    def ended(self, end: Ended) -> None:
        assert self.end is None, "ended twice"
        self.end = end
        self.done.set()

    def of(self, name: str) -> list[Packet]:
        return [packet for packet in self.packets if packet.track == name]


@dataclass
class Owner:
    """`on_publish` of a test: lets in who has the token, if one is wanted."""

    token: str | None = None
    baskets: list[Basket] = field(default_factory=list)
    circle: str = ""
    """The mark of its stream."""
    asked: int = 0
    came: asyncio.Event = field(default_factory=asyncio.Event)

    async def __call__(self, publisher: Publisher) -> Basket:
        self.asked += 1
        if self.token is not None and publisher.request.token != self.token:
            raise Refused("wrong key")
        if self.circle in publisher.request.via:
            raise Looped
        self.baskets.append(Basket(publisher))
        self.came.set()
        return self.baskets[-1]

    @property
    def basket(self) -> Basket:
        return self.baskets[-1]
