"""A server with a good publisher, beside which others are bad."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from streamgen_edge.rtmp import Limits, RtmpServer

from .basket import Basket, Owner
from .client import NEXT, video
from .peer import LOCAL, Counts, Peer, peer, until


@dataclass
class House:
    """A server with a good publisher."""

    server: RtmpServer
    good: Peer
    owner: Owner
    counts: Counts
    sent: int = 0

    def basket(self, name: str) -> Basket | None:
        found = {basket.publisher.request.stream: basket for basket in self.owner.baskets}
        return found.get(name)

    async def plays_on(self) -> None:
        """The good publisher's next picture arrives."""
        self.sent += 1
        await self.good.says(video(NEXT, 40 * self.sent))
        basket = self.basket("good")
        assert basket is not None
        await until(lambda: len(basket.packets) == 1 + self.sent)
        assert basket.end is None


@asynccontextmanager
async def house(limits: Limits | None = None) -> AsyncIterator[House]:
    owner, counts = Owner(), Counts()
    async with (
        RtmpServer(LOCAL, owner, limits=limits, telemetry=counts) as server,
        peer(server) as good,
    ):
        await good.publishes("good")
        await until(lambda: owner.baskets and owner.baskets[0].packets)
        yield House(server, good, owner, counts)
