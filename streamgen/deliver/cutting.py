"""`Cutter`: the samples of one live track become parts and segments of its window.

Segments begin at the first key frame at or after each point of the grid; parts begin at the first
sample that is a part's length behind the beginning of the last one. Where samples are missing, no
part grows beyond its length: the next sample is shown early, and the playlist keeps telling the
time. All follows from the samples of the segment alone, so a packager that starts in mid-stream
makes the same pieces.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise

from streamgen.deliver.fragments import Sample, fragment
from streamgen.deliver.grid import NS, Grid
from streamgen.deliver.window import Part, Window

MOST_PART_BYTES = 16 << 20
"""A part that grows beyond this (50 Mbit/s and no end in sight) loses its rest."""
_PARTS_A_SEGMENT = 64
"""Room for parts in the numbers of fragments; they need only grow."""
_MOST_LASTING = (1 << 32) - 1
"""What a sample's duration has room for."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How a track is cut, in units of its timescale."""

    timescale: int
    part: int
    """Length of a part: whole pictures or sound frames."""
    slack: int
    """Times may be off by this much, as they are after a trip through whole milliseconds."""

    @property
    def target(self) -> int:
        """No part is longer (PART-TARGET, 4.4.3.7)."""
        return self.part + self.slack

    def ns(self, ticks: int) -> int:
        return ticks * NS // self.timescale

    def length_ns(self, ticks: int) -> int:
        """Rounded up, so that three thirds of a second are no less than one."""
        return -(-ticks * NS // self.timescale)

    def ticks(self, at_ns: int) -> int:
        return -(-at_ns * self.timescale // NS)


class Cutter:
    """Owned by one thread. Samples come in decoding order, without B-frames in time order."""

    def __init__(
        self, pace: Pace, grid: Grid, window: Window, count: Callable[[str], None], *, video: bool
    ) -> None:
        """`count(reason)` hears of every sample that is lost or made up."""
        self.pace = pace
        self.absent = False
        """The rendition has no media now: parts are gaps."""
        self.end: int | None = None
        """Where the media so far ends."""
        self.number: int | None = None
        """Of the segment being made; None before the first."""
        self.header = ""
        """URI of the initialisation section for segments that begin from now on."""
        self._grid = grid
        self._window = window
        self._count = count
        self._video = video
        self._first_seen: int | None = None
        self._samples: list[Sample] = []
        self._bytes = 0
        self._index = 0
        self._last: int | None = None
        self._key: Sample | None = None

    def put(self, sample: Sample) -> None:
        """Take the next sample. One that is not later than the last is dropped and counted."""
        at = sample.time
        number = self._grid.number(self.pace.ns(at))
        if self.number is None or self.absent:
            if not self._begins(number, sample):
                self._count("before_segment")
                return
            self._return(number)
        elif self._last is not None and at <= self._last:
            self._count("late")
            return
        if sample.sync and self.number is not None and self._video:
            self._bridge(sample, min(at, self._start(self.number + 1)))
        if self.number is None or number > self.number:
            if not sample.sync:  # numbers must go on, though nobody can begin here
                self._count("without_key_frame")
            self._cut(number, sample)
        if self._samples and at - self._samples[0].time >= self.pace.part - self.pace.slack:
            self._fill(at)
        self._append(sample)

    def drop(self) -> None:
        """The rendition ends for now. Its last picture fills the part, so that no part is too
        short; then come gaps, until it returns with a segment."""
        if self._samples and self.number is not None:
            full = self._samples[0].time + self.pace.part
            self._close(min(full, self._start(self.number + 1)))
        self.absent = True
        self._first_seen = None
        if self.end is not None:
            self.advance(self.end)

    def advance(self, at: int) -> None:
        """Time has gone on to `at`: publish gaps to the end of the cell behind it. Only while
        `absent`.

        hls.js leaves a rendition when a whole segment is a gap, and it must see that while it
        still has something to play. Once samples come again, gaps end with the last cell, so
        that the next one can be the return.
        """
        ahead = 2 if self._first_seen is None else 0
        until = self.pace.ticks(self._grid.start_of(self.cell(at - 1) + ahead))
        while self.end is not None and self.end < until:
            self._gap(min(self.end + self.pace.part, until))

    def finish(self) -> None:
        """Publish what there is."""
        if self._samples and self.end is not None:
            self._close(self.end)
        self._window.end()

    def resume(self) -> None:
        """Go on where another packager made what the window has, or we did before it: with the next
        segment that is seen whole. It begins the window anew if numbers are missing: players jump
        over that, and stand still before gaps that all renditions have."""
        self._forget_empty()
        if self._window.pieces:
            self.header = self._window.pieces[-1].header
        self.absent, self.end, self.number, self._index = False, None, None, 0
        self._first_seen = self._last = self._key = None
        self._samples, self._bytes = [], 0

    def bridge(self, number: int) -> bool:
        """Another packager goes on with this segment, behind what is here or in place of it. False:
        it does not follow, so it begins the window anew."""
        if not self._window.pieces or number != self._window.pieces[-1].number:
            self._forget_empty()
        pieces = self._window.pieces
        if not pieces or not pieces[0].number <= number <= pieces[-1].number + 1:
            return False
        if number > pieces[-1].number and self._window.growing is not None:
            self._window.finish()
        return True

    def _forget_empty(self) -> None:
        """A segment that had begun without any part never was: numbers count what is listed."""
        growing = self._window.growing
        if growing is not None and not growing.parts:
            self._window.pieces.pop()

    def cell(self, at: int) -> int:
        return self._grid.number(self.pace.ns(at))

    def _begins(self, number: int, sample: Sample) -> bool:
        """Whether the rendition begins here: with the session, or at the first cell that is seen
        from its beginning. (A packager that takes over must not make half a segment.)"""
        inside = self.pace.ns(sample.time) - self._grid.start_of(number)
        whole = number == 0 and not self.absent
        whole = whole or inside < self.pace.ns(max(sample.duration, 1))
        if self._first_seen is None:
            self._first_seen = number
        free = self.end is None or sample.time >= self.end - self.pace.slack
        return sample.sync and free and (whole or number > self._first_seen)

    def _return(self, number: int) -> None:
        begin = self._start(number)
        while self.absent and self.end is not None and self.end < begin:
            self._gap(min(self.end + self.pace.part, begin))
        self.absent = False

    def _gap(self, until: int) -> None:
        """One part without media, ending at `until` or with its cell."""
        assert self.end is not None
        number = self.cell(self.end)
        if number != self.number:
            self._next(number, self.end)
        stop = min(until, self._start(number + 1))
        if stop - self.end > self.pace.slack:
            self._publish(b"", min(stop - self.end, self.pace.target), independent=False)
        self.end = max(stop, self.end + 1)

    def _start(self, number: int) -> int:
        return self.pace.ticks(self._grid.start_of(number))

    def _late(self, at: int) -> bool:
        """Whether what is there cannot last until then: samples are missing."""
        if self._samples:
            return at - self._samples[0].time > self.pace.target
        return self.end is not None and at - self.end > self.pace.slack

    def _bridge(self, key: Sample, until: int) -> None:
        """A hole in the segment before a key frame, as where a worker took over from another: parts
        of their own show that key frame early, so that media and playlist agree."""
        while self.end is not None:
            begin = self._samples[0].time + self.pace.part if self._samples else self.end
            if until - begin <= self.pace.slack:
                return
            self._show(key, begin)

    def _cut(self, number: int, sample: Sample) -> None:
        """Begin a segment. Cells without any sample, as when a worker died, show the key frame
        behind them, or the last one: players stop at holes, and numbers must not have any."""
        at, key = sample.time, sample if sample.sync else self._key
        if self.number is not None and key is not None:
            if number - self.number > 2 * self._window.window_ns // self._grid.segment_ns:
                self._close(at)
            else:
                for missing in range(self.number + 1, number):
                    self._still(missing, key)
                begin = self._start(number)
                if sample.sync and self._video and at - begin > self.pace.slack and self._late(at):
                    self._next(number, begin)
                    self._show(sample, begin)
                    self._bridge(sample, at)
                    return
        self._next(number, at)

    def _still(self, number: int, key: Sample) -> None:
        begin, end = self._start(number), self._start(number + 1)
        self._next(number, begin)
        for at in range(begin, end, self.pace.part):
            if end - at < self.pace.slack:
                break
            self._show(key, at)

    def _show(self, key: Sample, at: int) -> None:
        """Begin a part with a key frame at another time than its own."""
        if self._samples:
            self._close(at)
        self._count("still")
        self._append(replace(key, time=at, offset=0, duration=0))

    def _next(self, number: int, at: int) -> None:
        if self._samples:
            self._close(at)
        if self._window.growing is not None:
            self._window.finish()
        self._window.begin(number, self.pace.ns(at), self.header)
        self.number, self._index = number, 0

    def _append(self, sample: Sample) -> None:
        if self._bytes > MOST_PART_BYTES:
            self._count("too_big")
            return
        step = None if self._last is None else sample.time - self._last
        steady = step is None or 2 * step <= 3 * sample.duration <= 6 * step
        first = sample
        if self._samples:
            first = _at(sample, max(sample.time, self._samples[-1].time + 1))
        elif self.end is not None and (sample.time < self.end or self._index):
            first = _at(sample, self.end)  # early: nothing else can fill the hole
        self._samples.append(first)
        self._bytes += len(sample.data)
        self._last = sample.time
        self.end = first.time + (min(sample.duration, self.pace.part) or 1)
        if sample.sync and self._video:
            self._key = sample
        if sample.duration and steady and self._full(self.end):
            self._fill(self.end)

    def _full(self, end: int) -> bool:
        """Whether the part is known to be complete before the next sample comes. The last one of
        a segment is not: the segment ends with the next key frame."""
        assert self.number is not None
        inside = self._start(self.number + 1) - end > self.pace.slack
        return inside and end - self._samples[0].time >= self.pace.part - self.pace.slack

    def _fill(self, until: int) -> None:
        """Publish the open part, as what is there would last `until`, or as long as a part may."""
        self._close(min(until, self._samples[0].time + self.pace.target))

    def _close(self, end: int) -> None:
        """Publish the open part. Its last sample lasts until `end`, however late that is, so the
        media has no hole; what the playlist says is never more than the target."""
        samples = self._samples
        if not samples:
            return
        for sample, following in pairwise(samples):
            sample.duration = following.time - sample.time
        end = max(end, samples[-1].time + 1)
        samples[-1].duration = min(end - samples[-1].time, _MOST_LASTING)
        length = min(end - samples[0].time, self.pace.target)
        number = (self.number or 0) * _PARTS_A_SEGMENT + self._index + 1
        data = fragment(number, samples, video=self._video)
        independent = samples[0].sync and (self._video or self._index == 0)
        self._samples, self._bytes, self.end = [], 0, end
        self._publish(data, length, independent=independent)

    def _publish(self, data: bytes, length: int, *, independent: bool) -> None:
        uri = f"{self.number}.{self._index}.m4s"
        self._window.add(Part(uri, self.pace.length_ns(length), data, independent))
        self._index += 1


def _at(sample: Sample, time: int) -> Sample:
    """The same, begun at another time: what is published already ends there, or the sample before
    it begins there, where a length was said to be longer than it was."""
    return sample if time == sample.time else replace(sample, time=time)
