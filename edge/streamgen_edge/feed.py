"""`Feed`: encoded packets of one stream to those who play or push it. Encoded once, for all."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Protocol

from streamgen.media.packet import Packet

MOST_BYTES = 4 << 20
"""What one subscriber may be behind: about 8 s at 4 Mbit/s. Beyond it drops to a key frame."""


class Subscriber(Protocol):
    """Neither call waits."""

    def put(self, packet: Packet) -> None: ...

    def end(self) -> None: ...


class Subscription:
    """One subscriber's bounded queue of one track. On the loop's thread."""

    def __init__(self, feed: Feed, track: str) -> None:
        self.track = track
        self.dropped = 0
        self._feed = feed
        self._items: deque[Packet] = deque()
        self._bytes = 0
        self._await_key = True
        self._changed = asyncio.Event()
        self._ended = False

    def put(self, packet: Packet) -> None:
        if self._await_key and not packet.keyframe:
            self.dropped += 1
            return
        self._await_key = False
        self._items.append(packet)
        self._bytes += packet.size_bytes
        if self._bytes > MOST_BYTES:
            self.dropped += len(self._items)
            self._items.clear()
            self._bytes = 0
            self._await_key = True
        self._changed.set()

    def end(self) -> None:
        self._ended = True
        self._changed.set()

    def __aiter__(self) -> Subscription:
        return self

    async def __anext__(self) -> Packet:
        """The next packet; the first is a key frame. Ends with the stream."""
        while not self._items:
            if self._ended:
                raise StopAsyncIteration
            self._changed.clear()
            await self._changed.wait()
        packet = self._items.popleft()
        self._bytes -= packet.size_bytes
        return packet

    def close(self) -> None:
        self._feed.leave(self.track, self)


class Feed:
    """Fan-out of one stream: by track, and the last key frame's GOP of each picture track."""

    def __init__(self) -> None:
        self.changed: Callable[[str], None] = lambda track: None
        """Called when somebody has joined a track, or left it."""
        self._subscribers: dict[str, set[Subscriber]] = {}

    @property
    def tracks(self) -> set[str]:
        """Those that anybody has."""
        return {track for track, some in self._subscribers.items() if some}

    def __len__(self) -> int:
        return sum(len(some) for some in self._subscribers.values())

    def subscribe(self, track: str) -> Subscription:
        one = Subscription(self, track)
        self.join(track, one)
        return one

    def join(self, track: str, one: Subscriber) -> None:
        """Everything of the track from now on, without a queue in between."""
        self._subscribers.setdefault(track, set()).add(one)
        self.changed(track)

    def leave(self, track: str, one: Subscriber) -> None:
        self._subscribers.get(track, set()).discard(one)
        self.changed(track)

    def put(self, packet: Packet) -> None:
        for one in tuple(self._subscribers.get(packet.track, ())):  # it may leave at this
            one.put(packet)

    def end(self) -> None:
        for some in self._subscribers.values():
            for one in tuple(some):
                one.end()
