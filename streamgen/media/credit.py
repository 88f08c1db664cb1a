"""Flow control of one stream on a link: how much may be on its way, and what goes when it cannot.

The receiver says how far it has come (`Intake.credit`); the sender (`Outflow`) keeps at most a
window of bytes and of milliseconds beyond that under way. A stream without credit waits in its own
queue and delays no other. What has waited for `STALL_NS` without credit goes, up to the next key
frame, with a reason; so a receiver that is too slow falls behind by a window and no further.
Nothing here knows sockets or threads.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from streamgen.media.envelope import Kind
from streamgen.media.packet import Packet

WINDOW_BYTES = 8 << 20
WINDOW_MS = 1_000
STALL_NS = 200_000_000
MOST_WAITING_BYTES = 48 << 20
"""Above what a GOP of the largest kind weighs: only a bug or an attack comes here."""


@dataclass(slots=True)
class Item:
    """One packet that waits to be sent."""

    track: int
    packet: Packet
    received_ns: int
    size_bytes: int
    at_ms: float
    kind: Kind = Kind.PACKET
    queued_ns: int = 0
    """Since when it waits; set by `Outflow.put`."""


class Intake:
    """The receiver's account: what it was sent and what it has consumed."""

    def __init__(self) -> None:
        self.consumed_bytes = 0
        self.consumed_ms: float | None = None
        """None until something was consumed that is more than replayed."""
        self._told: tuple[int, float | None] = (-1, None)

    def consumed(self, packet: Packet, size_bytes: int) -> None:
        self.consumed_bytes += size_bytes
        at_ms = time_ms(packet)
        if _paced(packet) and (self.consumed_ms is None or at_ms > self.consumed_ms):
            self.consumed_ms = at_ms

    def news(self) -> tuple[int, float | None] | None:
        """What to tell the sender: bytes and milliseconds so far; None where nothing changed."""
        now = (self.consumed_bytes, self.consumed_ms)
        if now == self._told:
            return None
        self._told = now
        return now


class Outflow:
    """The sender's queue of one stream. `put` and `take` from one thread at a time.

    `dropped` is told the packets that were given up, and why (`credit`, `overflow`).
    """

    def __init__(
        self,
        dropped: Callable[[Item, str], None],
        *,
        videos: frozenset[int],
        window_bytes: int = WINDOW_BYTES,
        window_ms: float = WINDOW_MS,
    ) -> None:
        self._dropped = dropped
        self._videos = videos
        self._window_bytes = window_bytes
        self._window_ms = window_ms
        self._items: deque[Item] = deque()
        self._waiting_bytes = 0
        self._sent_bytes = 0
        self._consumed_bytes = 0
        self._allowed_bytes = window_bytes
        self._allowed_ms: float | None = None
        self._await_key: set[int] = set()
        self._pictured = False
        """There are pictures, which set the pace: sound that is far ahead of them delays none."""

    def __len__(self) -> int:
        return len(self._items)

    def put(self, item: Item, now_ns: int) -> bool:
        """Queue one packet; False where it was dropped, as its picture's references are gone."""
        if item.track in self._await_key and item.kind == Kind.PACKET:
            if not _begins(item):
                self._dropped(item, "credit")
                return False
            self._await_key.discard(item.track)
        if self._items and self._waiting_bytes + item.size_bytes > MOST_WAITING_BYTES:
            self._give_up("overflow")
            return self.put(item, now_ns)
        item.queued_ns = now_ns
        self._pictured |= item.track in self._videos
        self._items.append(item)
        self._waiting_bytes += item.size_bytes
        return True

    def credit(self, consumed_bytes: int, consumed_ms: float | None) -> None:
        """The receiver has come this far."""
        self._consumed_bytes = max(self._consumed_bytes, consumed_bytes)
        self._allowed_bytes = max(self._allowed_bytes, consumed_bytes + self._window_bytes)
        if consumed_ms is not None:
            self._allowed_ms = consumed_ms + self._window_ms

    def take(self, now_ns: int) -> Item | None:
        """The next packet that may leave; None: nothing waits, or there is no credit."""
        if not self._items:
            return None
        item = self._items[0]
        if not self._may_leave(item):
            if now_ns - item.queued_ns > STALL_NS and self._paced(item):
                self._give_up("credit")
            return None
        self._items.popleft()
        self._waiting_bytes -= item.size_bytes
        self._sent_bytes += item.size_bytes
        return item

    def back(self, item: Item) -> None:
        """The socket did not take it after all."""
        self._items.appendleft(item)
        self._waiting_bytes += item.size_bytes
        self._sent_bytes -= item.size_bytes

    def _may_leave(self, item: Item) -> bool:
        if self._sent_bytes <= self._consumed_bytes:
            return True  # nothing is under way; time may have leapt beyond every window
        if self._sent_bytes + item.size_bytes > self._allowed_bytes:
            return False
        paced = self._paced(item) and self._allowed_ms is not None
        return not paced or item.at_ms <= (self._allowed_ms or 0.0)

    def _paced(self, item: Item) -> bool:
        return _paced(item.packet) and (item.track in self._videos or not self._pictured)

    def _give_up(self, reason: str) -> None:
        """Drop all that lies before the newest key frame that waits, or everything."""
        leading = min(self._videos)
        keys = [i.at_ms for i in self._items if i.track == leading and _begins(i)]
        kept: deque[Item] = deque()
        for item in self._items:
            # What describes a track is small, and nothing behind it is understood without it.
            if item.kind != Kind.PACKET or (keys and item.at_ms >= keys[-1]):
                kept.append(item)
            else:
                self._dropped(item, reason)
        self._items = kept
        self._waiting_bytes = sum(item.size_bytes for item in kept)
        self._await_key = set(self._videos - {item.track for item in kept if _begins(item)})


def _begins(item: Item) -> bool:
    return item.kind == Kind.PACKET and item.packet.keyframe and not item.packet.discard


def _paced(packet: Packet) -> bool:
    """What is replayed, or only decoded, is not: a new worker catches up as fast as it can."""
    return not packet.discard and not packet.replayed


def time_ms(packet: Packet) -> float:
    """Decoding time, or presentation time where there is none, in milliseconds."""
    at = packet.dts if packet.dts is not None else packet.pts
    base = packet.time_base
    return (at or 0) * base.numerator * 1000 / base.denominator
