"""A WHEP viewer of a real server, and all that it sees: time, size and RTP time of each picture."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from tests.edge.webrtc.peers import Watching
from tests.edge.webrtc.test_served import over_http
from tests.live.numbered import number_of
from tests.live.serving import Server


@dataclass(frozen=True)
class Shown:
    """One picture."""

    at_s: float
    pts: int
    height: int
    luma: float
    number: int
    """As pictures of `numbered` say it; of others it means nothing."""


@dataclass
class View:
    """What one viewer has seen so far."""

    shown: list[Shown] = field(default_factory=list)

    @property
    def longest_s(self) -> float:
        """Between two pictures, on the wall clock."""
        return max((b.at_s - a.at_s for a, b in itertools.pairwise(self.shown)), default=0.0)

    @property
    def monotonic(self) -> bool:
        return all(a.pts < b.pts for a, b in itertools.pairwise(self.shown))

    def heights(self, since_s: float = 0.0) -> set[int]:
        return {one.height for one in self.shown if one.at_s >= since_s}


Scene = Callable[[View], Awaitable[None]]


def watched(server: Server, path: str, scene: Scene) -> View:
    """Watch by WHEP while the scene plays."""

    async def main() -> View:
        viewer, view = Watching(), View()
        await viewer.start(over_http(server), path)
        assert viewer.answer.status == 201, viewer.answer.text
        looking = asyncio.create_task(look(viewer, view))
        try:
            await scene(view)
        finally:
            looking.cancel()
            await asyncio.gather(looking, return_exceptions=True)
            await viewer.peer.close()
        return view

    return asyncio.run(main())


async def look(viewer: Watching, view: View) -> None:
    while True:
        frame: Any = await viewer.frame()
        luma = float(frame.to_ndarray(format="gray").mean())
        number = number_of(frame)
        view.shown.append(Shown(time.monotonic(), frame.pts, frame.height, luma, number))


async def until(holds: Callable[[], Any], what: str, seconds: float = 20.0) -> Any:
    """Wait for something to be true, off the loop."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = await asyncio.to_thread(holds)
        if found:
            return found
        await asyncio.sleep(0.05)
    raise AssertionError(f"no {what} within {seconds} s")
