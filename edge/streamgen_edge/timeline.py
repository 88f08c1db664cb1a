"""`LiveTimeline`: one output timeline for a stream, however often its publisher comes back.

Every publisher's packets are mended by a `Timeline` of their own (`streamgen.media.timeline`), and
moved as a whole to where the stream stands on the wall clock. Decided here, once, and kept over
workers: what crosses the link needs no more mending.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction

from streamgen.media.packet import Packet
from streamgen.media.timeline import Counter, Timeline

HZ = 90_000
BASE = Fraction(1, HZ)
"""Time base of everything on the link: whole milliseconds and RTP's video clock fit exactly."""
STILL = HZ // 6
"""Distance of pictures that stand in for others, before it is known how HLS is cut."""
PATIENCE = HZ // 4
"""They come this much later than the wall clock says, so that what is on its way goes first."""
_NEXT = HZ // 30
"""Distance of the first picture of a publisher to the last one of another."""
_JUMP = HZ
"""A hole before them that is longer is left as it is: nobody could have filled it in time."""
_NS = 1_000_000_000
HOLD_S = 3.0
"""No live picture is shown later than this after its decoding time, but for reordering."""


class LiveTimeline:
    """`arrive` for each publisher, `mend` for each packet, `begin` once the stream is under way.

    Until `begin`, times are the first publisher's own, from zero; after it, `shifted` moves what
    was kept. All times come out in 1/90000 s.
    """

    def __init__(self, telemetry: Counter) -> None:
        self._telemetry = telemetry
        self._timeline = Timeline(telemetry, max_hold_s=HOLD_S)
        self._former = 0
        """Epochs of the publishers before."""
        self.epoch = 0
        self.base: int | None = None
        """Where the present publisher's zero lies; None: not decided."""
        self.front = 0
        """End of the latest picture so far."""
        self.still = STILL
        """Distance of pictures that stand in for others: whole ones fill a part of HLS."""
        self._heard = 0
        """The latest sound so far."""
        self._lag = 0
        """By how much the publisher's pictures are moved against its sound."""
        self._began_ns: int | None = None
        self._zero = 0

    @property
    def begun(self) -> bool:
        return self._began_ns is not None

    def arrive(self) -> None:
        """Another publisher: its times have nothing to do with what came before."""
        self._timeline = Timeline(self._telemetry, max_hold_s=HOLD_S)
        if self.begun:
            self._former = self.epoch + 1
            self.epoch = self._former
            self.base = None
        else:
            self.front = self._heard = self.epoch = 0
        self._lag = 0

    def begin(self, now_ns: int, *, sound: bool = False) -> int:
        """The latest picture of the first publisher, or its latest sound, is shown now: its time
        becomes the output's zero. How much later all that came before is than it was."""
        at = self._heard if sound else self.front
        self.base, self._began_ns = -at, now_ns
        self.front = 0
        return -at

    def go_on(self, now_ns: int, elapsed_ns: int, shown: int) -> int:
        """The stream began elsewhere, so long ago, and viewers have it up to `shown`. Where it
        stands now; the first publisher here is another than those before."""
        at = max(elapsed_ns * HZ // _NS, shown)
        self._began_ns = now_ns - at * _NS // HZ
        self.front = max(at - PATIENCE, shown)
        return self.front

    def elapsed(self, now_ns: int) -> int:
        """Where the output stands on the wall clock."""
        return 0 if self._began_ns is None else (now_ns - self._began_ns) * HZ // _NS

    def mend(self, packet: Packet, now_ns: int) -> Packet:
        """The packet on the output's timeline. The first of a publisher is its first key frame."""
        mended = self._timeline.mend(packet)
        if self.begun and self.base is None:
            # It goes on where the wall clock stands, as the stills did: without a hole after them.
            first = _ticks(mended.pts, mended.time_base) or 0
            self.base = self._onward(now_ns) - first
            self._telemetry.count("resumed", "publisher")
        # A track that has not jumped yet is in an epoch before that of the others.
        epoch = self._former + mended.epoch
        self.epoch = max(self.epoch, epoch)
        video = packet.track.startswith("video")
        base = (self.base or 0) + (self._lag if video else 0)
        pts, dts = _ticks(mended.pts, mended.time_base), _ticks(mended.dts, mended.time_base)
        duration = round(mended.duration * mended.time_base * HZ)
        out = replace(
            mended,
            pts=None if pts is None else pts + base,
            dts=None if dts is None else dts + base,
            duration=duration,
            time_base=BASE,
            epoch=epoch,
        )
        at = out.pts if out.pts is not None else out.dts or 0
        if video:
            self.front = max(self.front, at)
        else:
            self._heard = max(self._heard, at)
        return out

    def stills(self, after: int, now_ns: int) -> Iterator[int]:
        """Times, by now, of pictures that stand in for what does not come `after` the last one."""
        due = self.elapsed(now_ns) - PATIENCE
        if due - after > _JUMP:
            after = due - self.still
        for at in range(after + self.still, due + 1, self.still):
            self.front = max(self.front, at)
            yield at

    def _onward(self, now_ns: int) -> int:
        """Where a picture lies that comes now, and says nothing of its time that can be used."""
        return max(self.elapsed(now_ns) - PATIENCE, self.front + _NEXT)

    def catch_up(self, packet: Packet, now_ns: int) -> Packet:
        """The mended picture, which lies behind what stood in for it, and all that follow it go on
        where the wall clock stands; so does the sound, if it has stood still with them."""
        at = packet.pts or 0
        by = self._onward(now_ns) - at
        self._telemetry.count("corrected", "stall")
        if -HZ < self._heard - at < HZ:
            self.base = (self.base or 0) + by
        else:
            self._lag += by
        moved = shifted(packet, by)
        self.front = max(self.front, moved.pts or 0)
        return moved


def shifted(packet: Packet, by: int) -> Packet:
    """The same packet, later."""
    return replace(
        packet,
        pts=None if packet.pts is None else packet.pts + by,
        dts=None if packet.dts is None else packet.dts + by,
    )


def _ticks(value: int | None, base: Fraction) -> int | None:
    return None if value is None else round(value * base * HZ)
