"""`LiveTimeline`: one output timeline for a stream, however often its publisher comes back.

Every publisher's packets are mended by a `Timeline` of their own (`streamgen.media.timeline`), and
moved as a whole to where the stream stands on the wall clock. Decided here, once, and kept over
workers: what crosses the link needs no more mending.
"""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

from streamgen.media.packet import Packet
from streamgen.media.timeline import Counter, Timeline

HZ = 90_000
BASE = Fraction(1, HZ)
"""Time base of everything on the link: whole milliseconds and RTP's video clock fit exactly."""
_NS = 1_000_000_000


class LiveTimeline:
    """`arrive` for each publisher, `mend` for each packet, `begin` once the stream is under way.

    Until `begin`, times are the first publisher's own, from zero; after it, `shifted` moves what
    was kept. All times come out in 1/90000 s.
HOLD_S = 3.0
"""No live picture is shown later than this after its decoding time, but for reordering."""
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
            self.front = 0

    def begin(self, at: int, now_ns: int) -> None:
        """What the first publisher calls `at` becomes the output's zero, now."""
        self.base, self._began_ns = -at, now_ns
        self.front -= at

    def elapsed(self, now_ns: int) -> int:
        """Where the output stands on the wall clock."""
        return 0 if self._began_ns is None else (now_ns - self._began_ns) * HZ // _NS

    def mend(self, packet: Packet, now_ns: int) -> Packet:
        """The packet on the output's timeline. The first of a publisher is its first key frame."""
        mended = self._timeline.mend(packet)
        if self.begun and self.base is None:
            # It goes on where the wall clock stands, and never before what was shown.
            first = _ticks(mended.pts, mended.time_base) or 0
            self.base = max(self.elapsed(now_ns), self.front + 1) - first
            self._telemetry.count("resumed", "publisher")
        self.epoch = self._former + mended.epoch
        base = self.base or 0
        pts, dts = _ticks(mended.pts, mended.time_base), _ticks(mended.dts, mended.time_base)
        duration = round(mended.duration * mended.time_base * HZ)
        out = replace(
            mended,
            pts=None if pts is None else pts + base,
            dts=None if dts is None else dts + base,
            duration=duration,
            time_base=BASE,
            epoch=self.epoch,
        )
        if packet.track.startswith("video"):
            self.front = max(self.front, (out.pts if out.pts is not None else out.dts or 0))
        return out

    def fill(self, now_ns: int, duration: int) -> int:
        """Time of a picture that stands in while nobody publishes."""
        at = max(self.elapsed(now_ns), self.front + 1)
        self.front = at
        return at


def shifted(packet: Packet, by: int) -> Packet:
    """The same packet, later."""
    return replace(
        packet,
        pts=None if packet.pts is None else packet.pts + by,
        dts=None if packet.dts is None else packet.dts + by,
    )


def _ticks(value: int | None, base: Fraction) -> int | None:
    return None if value is None else round(value * base * HZ)
