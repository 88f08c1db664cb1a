"""`Gop`: what a worker that takes a stream over must decode before it can go on."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field, replace

from streamgen.ingest.link import VIDEO
from streamgen.media.packet import Packet
from streamgen_edge.timeline import HZ, shifted

LONGEST = 12 * HZ
LARGEST_BYTES = 32 << 20
SOUND_KEPT = 3 * HZ
"""Sound is kept by time: it has no key frames, and what was under way is needed again."""
OWED = 2 * HZ
"""Pictures that no viewer has, and that are older than this, are not shown any more: a player of
HLS is a second behind at least, and waits for as long again before it leaves a hole."""


@dataclass(frozen=True, slots=True)
class Kept:
    packet: Packet
    received_ns: int

    @property
    def at(self) -> int:
        """When it is shown."""
        return self.packet.pts or 0


@dataclass(slots=True)
class _Group:
    """Pictures from one key frame up to the next."""

    pictures: list[Kept] = field(default_factory=list)
    size_bytes: int = 0

    def owes(self, since: int | None) -> bool:
        return any(_owed(kept, since) for kept in self.pictures)

    def leads(self, since: int | None) -> bool:
        """Whether one that is owed lies before the key frame, and needs the GOP before."""
        key = self.pictures[0].at
        return any(_owed(kept, since) for kept in self.pictures if kept.at < key)


class Gop:
    """The present GOP of a publisher, up to 12 s and 32 MiB, and the last seconds of sound.

    A longer one is dropped and counted in `dropped`; until the next key frame there is none. Those
    before it stay while some of their pictures may be owed, if all together are no larger.
    """

    def __init__(self) -> None:
        self._head: Kept | None = None
        self.whole = False
        """Everything from the key frame on is here."""
        self.dropped = 0
        self._groups: deque[_Group] = deque()
        """The last one is the present GOP."""
        self._sounds: deque[Kept] = deque()
        self._newest = 0

    @property
    def head(self) -> Packet | None:
        """The last key frame, kept also when its GOP is not: it says what the pictures are."""
        return None if self._head is None else self._head.packet

    def add(self, packet: Packet, received_ns: int) -> None:
        kept = Kept(packet, received_ns)
        if packet.track != VIDEO:
            self._sounds.append(kept)
            while self._sounds[0].at < kept.at - SOUND_KEPT:
                self._sounds.popleft()
            return
        if packet.keyframe:
            self._head, self.whole = kept, True
            self._groups.append(_Group())
        if not self.whole:
            return
        present = self._groups[-1]
        present.pictures.append(kept)
        present.size_bytes += packet.size_bytes
        self._newest = max(self._newest, kept.at)
        self._prune()
        first = present.pictures[0].packet
        long = _decoded_at(packet) - _decoded_at(first) > LONGEST
        if long or present.size_bytes > LARGEST_BYTES:
            self.dropped += len(present.pictures)
            self.forget()

    def _prune(self) -> None:
        """Leave out the GOPs of which nobody is owed a picture, and those there is no room for."""
        size_bytes = sum(group.size_bytes for group in self._groups)
        while len(self._groups) > 1:
            late = self._groups[1].pictures[0].at <= self._newest - OWED
            if not late and size_bytes <= LARGEST_BYTES:
                return
            size_bytes -= self._groups.popleft().size_bytes

    def forget(self) -> None:
        """What is here is of no use any more: another publisher or codec begins."""
        self.whole = False
        self._groups.clear()
        self._newest = 0

    def shift(self, by: int) -> None:
        """All times are moved: the stream's zero was decided."""
        for group in self._groups:
            group.pictures = [_shifted(kept, by) for kept in group.pictures]
        self._sounds = deque(_shifted(kept, by) for kept in self._sounds)
        self._newest += by
        if self._head is not None:
            self._head = _shifted(self._head, by)

    def replay(self, sound_from: int, shown: int | None = None) -> list[Kept]:
        """What another worker gets, in order of time: the pictures from a key frame on, and the
        sound from a time on. Of a GOP that is not whole the key frame stands in until the next one.

        The pictures are only to be decoded, but for those that are owed: they lie after the last
        one that was `shown` (None: none is owed), and are not too old.
        """
        since = None if shown is None else max(shown, self._newest - OWED)
        groups = list(self._groups)
        while len(groups) > 1 and not (groups[0].owes(since) or groups[1].leads(since)):
            del groups[0]
        kept = [k for group in groups for k in group.pictures]
        if not self.whole and self._head is not None:
            kept, since = [self._head], None
        pictures = [
            replace(k, packet=replace(k.packet, discard=not _owed(k, since), replayed=True))
            for k in kept
        ]
        sounds = [
            replace(k, packet=replace(k.packet, replayed=True))
            for k in self._sounds
            if k.at >= sound_from
        ]
        return sorted(pictures + sounds, key=lambda k: _decoded_at(k.packet))


def _decoded_at(packet: Packet) -> int:
    return packet.dts if packet.dts is not None else packet.pts or 0


def _owed(kept: Kept, since: int | None) -> bool:
    return since is not None and kept.at > since and not kept.packet.discard


def _shifted(kept: Kept, by: int) -> Kept:
    return replace(kept, packet=shifted(kept.packet, by))
