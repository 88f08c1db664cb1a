"""`Gop`: what a worker that takes a stream over must decode before it can go on."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace

from streamgen.ingest.link import VIDEO
from streamgen.media.packet import Packet
from streamgen_edge.timeline import HZ, shifted

LONGEST = 12 * HZ
LARGEST_BYTES = 32 << 20
SOUND_KEPT = 3 * HZ
"""Sound is kept by time: it has no key frames, and what was under way is needed again."""


@dataclass(frozen=True, slots=True)
class Kept:
    packet: Packet
    received_ns: int


class Gop:
    """The present GOP of a publisher, up to 12 s and 32 MiB, and the last seconds of sound.

    A longer one is dropped and counted in `dropped`; until the next key frame there is none.
    """

    def __init__(self) -> None:
        self.head: Packet | None = None
        """The last key frame, kept also when its GOP is not: it says what the pictures are."""
        self.whole = False
        """Everything from the key frame on is here."""
        self.dropped = 0
        self._pictures: list[Kept] = []
        self._sounds: deque[Kept] = deque()
        self._bytes = 0

    def add(self, packet: Packet, received_ns: int) -> None:
        kept = Kept(packet, received_ns)
        if packet.track != VIDEO:
            self._sounds.append(kept)
            newest = packet.pts or 0
            while (self._sounds[0].packet.pts or 0) < newest - SOUND_KEPT:
                self._sounds.popleft()
            return
        if packet.keyframe:
            self.head, self.whole = packet, True
            self._pictures.clear()
            self._bytes = 0
        if not self.whole:
            return
        self._pictures.append(kept)
        self._bytes += packet.size_bytes
        first = self._pictures[0].packet
        long = (packet.dts or packet.pts or 0) - (first.dts or first.pts or 0) > LONGEST
        if long or self._bytes > LARGEST_BYTES:
            self.dropped += len(self._pictures)
            self.forget()

    def forget(self) -> None:
        """What is here is of no use any more: another publisher begins."""
        self.whole = False
        self._pictures.clear()
        self._bytes = 0

    def shift(self, by: int) -> None:
        """All times are moved: the stream's zero was decided."""
        self._pictures = [replace(k, packet=shifted(k.packet, by)) for k in self._pictures]
        self._sounds = deque(replace(k, packet=shifted(k.packet, by)) for k in self._sounds)
        if self.head is not None:
            self.head = shifted(self.head, by)

    @property
    def newest(self) -> int:
        """Presentation time of the latest picture."""
        return max((k.packet.pts or 0 for k in self._pictures), default=0)

    def replay(self, sound_from: int) -> Iterator[Kept]:
        """The pictures, only to be decoded, and the sound from a time on, in order of time."""
        pictures = [replace(k, packet=replace(k.packet, discard=True)) for k in self._pictures]
        sounds = [k for k in self._sounds if (k.packet.pts or 0) >= sound_from]
        yield from sorted(pictures + sounds, key=lambda k: k.packet.dts or k.packet.pts or 0)
