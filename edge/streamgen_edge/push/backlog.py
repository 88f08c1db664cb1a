"""`Backlog`: what one target is behind. Bounded: when it is full, all goes up to a key frame."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence

from streamgen.media.packet import Packet

MOST_BYTES = 4 << 20
"""About 8 s at 4 Mbit/s."""
MOST_AT_ONCE = 256 << 10
SILENT = 90_000
"""A rung that is this much behind another is not there, rest or not: 1 s."""


class Backlog:
    """A `feed.Subscriber` of the rungs that may be sent, and of one track of sound.

    The first rung that does not rest is sent; a change happens at a key frame.
    """

    def __init__(
        self,
        rungs: Sequence[str],
        resting: Callable[[], Collection[str]],
        dropped: Callable[[int], None],
        *,
        sounds: int = 1,
    ) -> None:
        """`rungs`: the one that is wanted, then those that stand in. `dropped` hears how many
        pictures were lost. Up to so many `sounds` wait for the next picture, so that the process is
        woken once for all of them."""
        self.bytes = 0
        self.ended = False
        self.rung = ""
        """The one that is sent now."""
        self._rungs = tuple(rungs)
        self._seen: dict[str, int] = {}
        """By rung, the last PTS."""
        self._resting = resting
        self._dropped = dropped
        self._items: list[Packet] = []
        self._sounds = 0
        self._most_sounds = sounds
        self._await_key = True
        self._shedding = False
        self._changed = asyncio.Event()

    def put(self, packet: Packet) -> None:
        if packet.track in self._rungs:
            if not self._seen:
                self._seen = dict.fromkeys(self._rungs, packet.pts or 0)
            self._seen[packet.track] = packet.pts or 0
            if packet.track != self.rung and not self._turns_to(packet):
                return
            if self._await_key and not packet.keyframe:
                self._dropped(self._shedding)
                return
            self._await_key = self._shedding = False
            self._changed.set()
        elif self._await_key:
            return
        else:
            self._sounds += 1
            if self._sounds >= self._most_sounds:
                self._changed.set()
        self._items.append(packet)
        self.bytes += packet.size_bytes
        if self.bytes > MOST_BYTES:
            self._shed()

    def _turns_to(self, picture: Packet) -> bool:
        """Whether its rung is sent from this picture on."""
        if not picture.keyframe:
            return False
        resting, since = self._resting(), (picture.pts or 0) - SILENT
        for rung in self._rungs:
            if rung == picture.track:
                self.rung = rung
                return True
            if rung not in resting and self._seen[rung] > since:
                return False
        return False

    def _shed(self) -> None:
        self._dropped(sum(packet.track in self._rungs for packet in self._items))
        self._clear()
        self._await_key = self._shedding = True

    def _clear(self) -> None:
        self._items = []
        self.bytes = self._sounds = 0
        self._changed.clear()

    def end(self) -> None:
        self.ended = True
        self._changed.set()

    async def take(self) -> list[Packet]:
        """What there is, at most about `MOST_AT_ONCE`, the first being a key frame; waits for
        something. Nothing: the stream has ended."""
        await self._changed.wait()
        if self.bytes <= MOST_AT_ONCE:
            found = self._items
            self._clear()
            if self.ended:
                self._changed.set()
            return found
        size = number = 0
        while size < MOST_AT_ONCE:
            size += self._items[number].size_bytes
            number += 1
        found, self._items = self._items[:number], self._items[number:]
        self.bytes -= size
        return found
