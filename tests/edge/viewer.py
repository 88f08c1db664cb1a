"""Who watches a stream of a cluster: every picture of one rung, and all segments of all rungs."""

from __future__ import annotations

import time
from hashlib import sha256
from itertools import pairwise
from typing import Any

from streamgen.media.packet import Packet
from tests.edge.clustered import STEP, Published
from tests.live.serving import NO_TIME

TRACK = "video/90p"


class Viewer:
    """From its making on. Implements `feed.Subscriber`."""

    def __init__(self, published: Published) -> None:
        """The stream has shown something."""
        self._stream = published.stream
        self.stamps: list[int] = []
        """PTS of the pictures it got, in the order in which they came."""
        self.times_s: list[float] = []
        """When they came (`time.monotonic`)."""
        self.digests: dict[tuple[str, int], bytes] = {}
        """Of the segments of its playlists, by rendition and number."""
        self.gaps: set[tuple[str, int]] = set()
        """Segments that were listed and were not whole."""
        self.changed: list[tuple[str, int]] = []
        packager = self._stream.viewing.packager
        assert packager is not None
        packager.watch(self._listed)
        self._stream.viewing.feed.join(TRACK, self)

    def put(self, packet: Packet) -> None:
        assert packet.pts is not None
        self.stamps.append(packet.pts)
        self.times_s.append(time.monotonic())

    def end(self) -> None: ...

    def _listed(self, rendition: Any) -> None:
        for piece in rendition.window.listed():
            key = rendition.track.place, piece.number
            if piece.complete and piece.gap:
                self.gaps.add(key)
            elif piece.complete:
                digest = sha256(b"".join(part.data for part in piece.parts)).digest()
                if self.digests.setdefault(key, digest) != digest:
                    self.changed.append(key)

    @property
    def missing(self) -> list[tuple[str, int]]:
        """Segments between the first and the last that were never listed."""
        found = []
        listed = self.gaps | set(self.digests)
        for place in {place for place, _ in listed}:
            numbers = {number for one, number in listed if one == place}
            found += [(place, n) for n in range(min(numbers), max(numbers)) if n not in numbers]
        return found

    @property
    def double(self) -> int:
        """Segments that are what another one was."""
        return len(self.digests) - len(set(self.digests.values()))

    def holes(self, since: int = 0) -> int:
        """Pictures between one of those that came and the last that never did."""
        return sum(self._missed(since))

    @property
    def longest(self) -> int:
        """The most pictures in a row that never came."""
        return max(self._missed(), default=0)

    def _missed(self, since: int = 0) -> list[int]:
        """Between each picture that came and the next. A late one may stand a tick after another,
        so that none goes back in time."""
        stamps = self.stamps[since:]
        assert stamps == sorted(set(stamps))
        return [max(0, round((b - a) / STEP) - 1) for a, b in pairwise(stamps)]

    def longest_s(self, since: int) -> float:
        """Without a picture, behind one of those that came."""
        return max(b - a for a, b in pairwise(self.times_s[since:]))

    @property
    def no_time(self) -> int:
        """Pictures of the stream that a busy machine gave up."""
        return sum(n for why, n in self._stream.ledger.dropped.items() if why in NO_TIME)

    def whole(self) -> None:
        """No segment is missing, none became another one, none came twice; and only where a rung
        rested, for want of time, are some not whole."""
        assert self.missing == [] and self.changed == [] and self.double == 0
        assert not self.gaps or self._stream.telemetry.counts("rested")
        assert len(self.digests) > 3
