"""The timeline: the one place where timestamps are mended, first on packets, then on pictures.

`Timeline` gives all tracks of a source one clock. A stretch of continuous time is an *epoch*:
within it every track is shifted by the same offset, so sound and picture stay together to one
tick. A jump (a splice, a reconnect, a looped file) opens the next epoch, which continues where the
last one ended. `Presentation` then makes the times of decoded pictures strictly increase.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from math import inf
from typing import Protocol

from streamgen.media.frame import Frame
from streamgen.media.packet import Packet

PRIMING_S = 1.0
"""A source that begins less than this before zero keeps its zero: what lies before it is the
priming of an audio codec or the delay of B-frames, not a wrong clock."""
BACK_S = 1.0
"""Decoding times that step back by less are out of order; by more, they are a jump."""
REORDER_BACK_S = 3.0
"""The same where only presentation times are known, which step back with every B-frame."""
REORDER_DEPTH = 16
"""Pictures that H.264 and HEVC may hold back for reordering (H.264 A.3.1, HEVC A.4.2)."""
WRAPS = (1 << 32, 1 << 33)
"""Where clocks of FLV and RTP (32 bit) and MPEG-TS (33 bit) start again at zero."""
EXCURSION = Fraction(1, 5)
"""Seconds of output that may lie on a wrong clock without moving what comes after."""
LATE_S = 1.0
"""A picture that comes later than this after its successor is dropped, not moved behind it."""


class Counter(Protocol):
    """What the timeline needs of telemetry."""

    def count(self, name: str, reason: str = "", number: int = 1) -> None: ...


@dataclass(slots=True, eq=False)
class _Epoch:
    number: int
    offset: Fraction
    """Seconds added to every time of the epoch."""
    start_s: float
    front_s: float
    """Latest end of any packet so far, on the input's clock."""


@dataclass(slots=True, eq=False)
class _Track:
    time_base: Fraction
    unit_s: float
    gap: int
    back: int
    sparse: bool
    reorders: bool
    epoch: _Epoch
    offset: int
    """The epoch's offset in ticks of this track."""
    step: int
    """Length of a packet that does not say its own."""
    rated: bool
    wrap: int = 0
    """Ticks added because the clock wrapped."""
    last: int | None = None
    end: int = 0
    out_dts: int | None = None
    out_end: int = 0

    def ticks(self, seconds: Fraction | float) -> int:
        return round(Fraction(seconds) / self.time_base)

    def enter(self, epoch: _Epoch) -> None:
        self.epoch = epoch
        self.offset = self.ticks(epoch.offset)


class Timeline:
    """Mends the packets of all tracks of one source, in the order they were demuxed.

    After `mend`, decoding times strictly increase per track, no presentation time lies before its
    decoding time, and the order of presentation times is the input's: B-frames and variable frame
    rates are not touched. Each correction is counted as `corrected` by kind: `wrap`,
    `jump_forward`, `jump_back`, `dts_order`, `pts_before_dts`, `pts_far`, `missing_pts`,
    `missing_dts`, `negative_start`. A video packet without a presentation time keeps none (only the
    decoder knows the order); audio takes the decoding time.

    `start` is the time of the first presentation in seconds, which becomes zero; without it, or
    when it is far from what comes, the first packet decides. `rates` gives, by track, the frame
    rate for packets without any time. A gap longer than `max_gap_s` in which no track has anything
    is a jump and is closed. A picture that is to be shown more than `max_hold_s` after its decoding
    time, and later than reordering can explain, is shown at that time instead: live, all that
    follow it would be late.
    """

    def __init__(
        self,
        telemetry: Counter,
        *,
        max_gap_s: float = 10.0,
        max_hold_s: float = inf,
        start: Fraction | None = None,
        rates: Mapping[str, Fraction] | None = None,
    ) -> None:
        self.announced = 0
        """Video packets so far that announce a picture to be shown."""
        self._count = telemetry.count
        self._gap_s = max_gap_s
        self._hold_s = max_hold_s
        self._start = start
        self._rates = dict(rates or {})
        self._tracks: dict[str, _Track] = {}
        self._epoch: _Epoch | None = None
        self._former: _Epoch | None = None

    def mend(self, packet: Packet, received_ns: int = 0) -> Packet:
        """The same data with mended times and its epoch. The time base stays the track's own.

        `received_ns` is when it came, where the packet does not say so itself.
        """
        track = self._tracks.get(packet.track)
        if track is None:
            track = self._begin(packet)
        pts, dts = packet.pts, packet.dts
        length = packet.duration or track.step or 1
        at = dts if dts is not None else pts
        if at is None:
            at = dts = track.end - track.wrap
            self._count("corrected", "missing_dts")
        at += track.wrap
        last = track.last
        if last is not None and not -WRAPS[0] // 2 < at - last < WRAPS[0] // 2:
            at = self._unwrap(track, at, last)
        if pts is not None:
            pts = self._believed(_shown(pts + track.wrap, at, track.gap), at, track, length)
        if last is not None:
            if at < last - track.back or at > track.end + track.gap:
                self._place(track, at, at if pts is None else pts)
            elif not (packet.duration or track.rated) and at > last:
                track.step = at - last
        track.last, track.end = at, at + length
        end_s = track.end * track.unit_s
        if end_s > track.epoch.front_s and not track.sparse:
            track.epoch.front_s = end_s
        pts, dts = self._timed(packet, track, pts, at)
        track.out_dts = dts
        track.out_end = max(track.out_end, (dts if pts is None else pts) + length)
        if track.reorders and not packet.discard:
            self.announced += 1
        return Packet(
            packet.data,
            pts,
            dts,
            packet.duration,
            packet.time_base,
            packet.keyframe,
            packet.track,
            track.epoch.number,
            packet.discard,
            packet.received_ns or received_ns,
        )

    def _believed(self, pts: int, dts: int, track: _Track, length: int) -> int:
        """The presentation time, unless no reordering can explain it."""
        if pts - dts <= self._longest(length, track.unit_s):
            return pts
        self._count("corrected", "pts_far")
        return dts

    def _longest(self, length: int, unit_s: float) -> float:
        """Ticks from a decoding time to its presentation at most."""
        return max(self._hold_s / unit_s, REORDER_DEPTH * length)

    def _timed(
        self, packet: Packet, track: _Track, shown: int | None, at: int
    ) -> tuple[int | None, int]:
        """Output times: presentation first, decoding times made to fit in front of it."""
        last = track.out_dts
        pts = None if shown is None else shown + track.offset
        dts = at + track.offset
        if pts is None:
            self._count("corrected", "missing_pts")
        elif packet.dts is None:
            self._count("corrected", "missing_dts")
            dts = self._filled_dts(track, dts)
        if last is not None and dts <= last:
            if packet.dts is not None:
                self._count("corrected", "dts_order")
            dts = last + 1
        if pts is None:
            return (None if track.reorders else dts), dts
        if pts < dts:
            self._count("corrected", "pts_before_dts")
            # Lowering the decoding time keeps the picture where it was, if there is room.
            pts, dts = (pts, pts) if last is None or last < pts else (dts, dts)
        return pts, dts

    @staticmethod
    def _filled_dts(track: _Track, pts: int) -> int:
        """Where pictures may be reordered, the smallest time that leaves all others room."""
        if not track.reorders:
            return pts
        if track.out_dts is None:
            return pts - REORDER_DEPTH * (track.step or 1)
        return min(pts, track.out_dts + 1)

    def _unwrap(self, track: _Track, at: int, near: int) -> int:
        mended = _nearest(at, near, track.gap)
        if mended != at:
            track.wrap += mended - at
            self._count("corrected", "wrap")
        return mended

    def _begin(self, packet: Packet) -> _Track:
        """First packet of a track: it belongs to the present epoch, wherever it lies."""
        time_base, kind = packet.time_base, packet.track.partition("/")[0]
        gap = round(Fraction(self._gap_s) / time_base)
        first = packet.pts if packet.pts is not None else packet.dts
        if packet.pts is not None and packet.dts is not None:
            first = _shown(packet.pts, packet.dts, gap)
            if first - packet.dts > self._longest(packet.duration, float(time_base)):
                first = packet.dts
        if self._epoch is None:
            start_s = float((first or 0) * time_base)
            priming_s = 0.0 if kind == "video" and not packet.discard else PRIMING_S
            origin = Fraction(0) if first is None else self._origin(first * time_base, priming_s)
            self._epoch = _Epoch(0, -origin, start_s, start_s)
        rate = self._rates.get(packet.track)
        track = _Track(
            time_base=time_base,
            unit_s=float(time_base),
            gap=gap,
            back=round(Fraction(REORDER_BACK_S if packet.dts is None else BACK_S) / time_base),
            sparse=kind not in ("video", "audio"),
            reorders=kind == "video",
            epoch=self._epoch,
            offset=0,
            step=packet.duration if rate is None else max(1, round(1 / (rate * time_base))),
            rated=rate is not None,
        )
        track.enter(self._epoch)
        front = track.ticks(self._epoch.front_s)
        if first is None:
            track.end = track.ticks(self._epoch.start_s)
        elif abs(first - front) > WRAPS[0] // 2:
            self._unwrap(track, first, front)
        self._tracks[packet.track] = track
        return track

    def _origin(self, first: Fraction, priming_s: float) -> Fraction:
        """The time on the input's clock that becomes zero, in seconds.

        An announced start is not believed where it is far away, or where it lies behind a first
        packet that is no priming: libavformat may guess it from a later one.
        """
        start = self._start
        if start is None or abs(first - start) > self._gap_s or first < start - priming_s:
            origin = first
        else:
            origin = start
        if -PRIMING_S < origin < 0:
            origin = Fraction(0)
        if origin < 0:
            self._count("corrected", "negative_start")
        return origin

    def _place(self, track: _Track, at: int, shown: int) -> None:
        """Find or open the epoch of a packet that does not follow the last one of its track."""
        epoch = self._epoch
        assert epoch is not None
        at_s = at * track.unit_s
        near = epoch.start_s - self._gap_s <= at_s <= epoch.front_s + self._gap_s
        if track.sparse:
            # Subtitles are rare: a gap between two says nothing about the clock.
            if near:
                track.enter(epoch)
            return
        forward = track.last is not None and at > track.last
        if near and (track.epoch is not epoch or forward):
            # The other tracks have been here already: they jumped before, or only this one paused.
            track.enter(epoch)
            return
        self._count("corrected", "jump_forward" if forward else "jump_back")
        self._open(track, at_s, shown * track.time_base)

    def _open(self, track: _Track, at_s: float, shown: Fraction) -> None:
        epoch, former = self._epoch, self._former
        assert epoch is not None
        front = max(t.out_end * t.time_base for t in self._tracks.values() if not t.sparse)
        offset = front - shown
        if (
            former is not None
            and -BACK_S <= at_s - former.front_s <= self._gap_s
            and former.offset > offset - EXCURSION
        ):
            # The clock came back from a short excursion, and so does the former offset: tracks
            # that never left it are still together with this one.
            offset = former.offset
        self._former = epoch
        self._epoch = _Epoch(epoch.number + 1, offset, at_s, at_s)
        track.enter(self._epoch)


def _shown(pts: int, dts: int, gap: int) -> int:
    """The presentation time on the side of a wrap where the decoding time is."""
    return pts if -WRAPS[0] // 2 < pts - dts < WRAPS[0] // 2 else _nearest(pts, dts, gap)


def _nearest(at: int, near: int, gap: int) -> int:
    """`at`, or what it would be had its clock not wrapped, if that lies within `gap` of `near`."""
    for wrap in WRAPS:
        for candidate in (at + wrap, at - wrap):
            if abs(candidate - near) <= gap:
                return candidate
    return at


class Presentation:
    """Makes the times of decoded pictures strictly increase, so that every encoder takes them.

    A picture at or before the time of its predecessor moves one tick behind it and is counted as
    `corrected{duplicate_pts}`; one that is more than a second late is left out and counted as
    `dropped{late_picture}`. The decoder has already filled missing times and left out what an
    edit list hides.
    """

    def __init__(self, telemetry: Counter) -> None:
        self._count = telemetry.count
        self._last: int | None = None

    def show(self, frame: Frame) -> Frame | None:
        """The picture with its final time; None where it is not shown."""
        last = self._last
        if last is None or frame.pts > last:
            self._last = frame.pts
            return frame
        if (last + 1 - frame.pts) * frame.time_base > LATE_S:
            self._count("dropped", "late_picture")
            return None
        self._count("corrected", "duplicate_pts")
        self._last = last + 1
        return frame.retimed(pts=last + 1)
