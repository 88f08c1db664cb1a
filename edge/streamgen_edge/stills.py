"""`Stills`: when pictures must stand in for those that do not come of a publisher, and how it goes
on when they do."""

from __future__ import annotations

from collections import deque

from streamgen.media.packet import Packet
from streamgen.telemetry import Telemetry
from streamgen_edge.timeline import HZ, LiveTimeline

STALLED_NS = 400_000_000
"""Without any packet of a picture for so long, a publisher has stalled."""
UNSEEN_NS = 700_000_000
"""Packets for so long without any picture out of them cannot be decoded."""
CATCHING_UP_NS = 500_000_000
"""Pictures that lie behind the stills are left out for so long, as they may be a jam that clears;
longer only while they come much faster than they are shown."""
_MUCH_FASTER = 1.5
_MOST = 64


class Stills:
    """Of one stream. All times in the output's ticks, or in nanoseconds of the monotonic clock."""

    def __init__(self, timeline: LiveTimeline, telemetry: Telemetry) -> None:
        self.stalled = False
        """The publisher is here, and pictures of it are missing."""
        self._unseen = False
        """They come, and cannot be decoded."""
        self._timeline = timeline
        self._count = telemetry.count
        self._came_ns = 0
        self._shown_ns: int | None = None
        self._shown = self._last = 0
        """Times of the last picture of the publisher that viewers have, and of the last of all."""
        self._times: deque[int] = deque(maxlen=_MOST)
        self._until: int | None = None
        """Time of the last still: what lies before it can no longer be shown."""
        self._behind: tuple[int, int] | None = None
        """Since when pictures lie behind the stills, and the time of the first of them."""

    def restart(self, now_ns: int) -> None:
        """Another publisher, or another worker: both get their time."""
        self.stalled = False
        self._last = self._timeline.front
        self._came_ns, self._shown_ns, self._behind = now_ns, None, None

    def due(self, now_ns: int) -> list[int]:
        """Times of the pictures that must stand in by now."""
        due = list(self._timeline.stills(self._last, now_ns))
        if due:
            self._last = due[-1]
            self._count("filled", "picture", len(due))
            self._times.extend(due)
            self._until = due[-1]
        return due

    def stalls(self, now_ns: int) -> bool:
        """Whether pictures are missing, though their publisher and a worker are there."""
        if not self.stalled:
            silent = now_ns - self._came_ns > STALLED_NS
            unseen = self._shown_ns is not None and now_ns - self._shown_ns > UNSEEN_NS
            if silent or unseen:
                self.stalled, self._unseen = True, not silent
                self._last = self._timeline.front if silent else self._shown
                self._count("stalls", "no_packets" if silent else "no_pictures")
        return self.stalled

    def shown(self, pts: int, now_ns: int) -> None:
        """Viewers have a picture of this time; one that came of the publisher ends a stall."""
        if pts not in self._times:
            self._shown, self._shown_ns = pts, now_ns
            self.stalled = False

    def place(self, packet: Packet, now_ns: int) -> Packet | None:
        """A mended picture, moved if it must be; None: it is too late to be shown, only what
        follows it needs it."""
        silent = now_ns - self._came_ns > STALLED_NS
        self._came_ns = now_ns
        if self._until is None or packet.pts is None or packet.pts > self._until:
            self._goes_on(now_ns)
            return packet
        if self._behind is None or silent:
            self._behind = (now_ns, packet.pts)
        since_ns, first = self._behind
        waited_ns = now_ns - since_ns
        gained_ns = (packet.pts - first) * 1_000_000_000 // HZ
        if waited_ns <= CATCHING_UP_NS or gained_ns > _MUCH_FASTER * waited_ns:
            return None
        self._goes_on(now_ns)
        return self._timeline.catch_up(packet, now_ns)

    def _goes_on(self, now_ns: int) -> None:
        """There is a picture again; it gets its time to be seen."""
        self._until = self._behind = None
        if self.stalled and not self._unseen:
            self.stalled = False
            self._shown_ns = self._shown_ns and now_ns
