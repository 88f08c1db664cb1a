"""`LivePackager`: the encoded tracks of one session become a live HLS ladder with low latency.

    index.m3u8                                  multivariant playlist
    {session}/720p/index.m3u8                   media playlist
    {session}/720p/init-{hash}.mp4              initialisation section
    {session}/720p/{segment}.m4s                segment
    {session}/720p/{segment}.{part}.m4s         part

Everything is kept in memory, and what a URI below `{session}` names, playlists apart, never
changes. Names, numbers, dates and bytes follow from the packets and the session's start.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from streamgen.deliver.grid import NS, Grid
from streamgen.deliver.live_playlist import Report
from streamgen.deliver.playlist import Rendition as Measured
from streamgen.deliver.playlist import multivariant
from streamgen.deliver.rendition import LiveTrack, Page, Rendition, Said
from streamgen.media.packet import Packet
from streamgen.telemetry import Telemetry

_LATE_SEGMENTS = 3
"""When one rendition has so many segments, nobody waits any more for the others' first."""


@dataclass(frozen=True, slots=True)
class LiveStart:
    """What a session is, in every process that packages it."""

    session: str
    """Stands in every URI. Who knows it may fetch the media, so it must not be guessable."""
    unix_ns: int
    """Wall clock of the first picture."""
    pts_ns: int = 0
    """Output PTS of the first picture."""


@dataclass(frozen=True, slots=True)
class LiveSettings:
    part_ns: int = 333_000_000
    """Wished length of a part; it is made of whole pictures."""
    window_ns: int = 30 * NS
    segment_ns: int = NS
    """The grid of key frames."""
    opening_ns: int = NS // 2
    """Length of the very first segment. Its end needs a key frame on all rungs."""
    patience_ns: int = NS
    """A rung that is this much behind another one has gaps until it is back."""


@dataclass(frozen=True, slots=True)
class Ladder:
    """What the multivariant playlist is made of."""

    said: Mapping[str, Said]
    """By place, of what is playable."""
    ready: bool
    """Every rendition has a full segment, or will not have one soon."""


class LivePackager:
    """Packages one session. All calls come from one thread; so do those of `watch`."""

    def __init__(
        self,
        start: LiveStart,
        tracks: Sequence[LiveTrack],
        *,
        telemetry: Telemetry,
        settings: LiveSettings | None = None,
    ) -> None:
        """Rungs top first. Lost and made-up samples are counted as `hls{reason}`.

        Raises `ConfigError` for a track that has no place in a live ladder.
        """
        self.start = start
        self.settings = settings = settings or LiveSettings()
        grid = Grid(start.pts_ns, start.unix_ns, settings.segment_ns, settings.opening_ns)
        self.breaks: set[int] = set()
        """Numbers of the segments that begin with a discontinuity."""
        self.renditions: dict[str, Rendition] = {}
        """By place: `720p`, `audio-0`."""
        self.ended = False
        self.wanted: Callable[[str], bool] = lambda place: True
        """Called with its place for each request of a rendition. False: it is another process that
        packages it, and what is here of it is not yet what is there."""
        self.elsewhere: Ladder | None = None
        """Of a copy: what the playlist on top says where the session is packaged. The windows here
        need not have it."""
        self._before: Ladder | None = None
        """The same, of who packaged the session before us."""
        self._reported: set[str] = set()
        """Places that have published."""
        self._watchers: list[Callable[[Rendition], None]] = []
        self._by_track: dict[str, Rendition] = {}
        for track in tracks:
            rendition = Rendition(
                track,
                grid,
                part_ns=settings.part_ns,
                window_ns=settings.window_ns,
                breaks=self.breaks,
                count=lambda reason: telemetry.count("hls", reason),
            )
            self._by_track[track.name] = self.renditions[track.place] = rendition

    def watch(self, callback: Callable[[Rendition], None]) -> None:
        """`callback(rendition)` is called after each publication of parts."""
        self._watchers.append(callback)

    def unwatch(self, callback: Callable[[Rendition], None]) -> None:
        """It is called no more."""
        self._watchers.remove(callback)

    def write(self, packet: Packet) -> None:
        """Take the next packet of a track, on the output timeline.

        Raises `KeyError` for an unknown track and `OutputError` for broken parameter sets.
        """
        rendition = self._by_track[packet.track]
        revision = rendition.window.revision
        broken = rendition.write(packet)
        if broken is not None:
            # All renditions must have the same discontinuities (6.2.4).
            self.breaks.add(broken)
        if rendition.window.revision != revision:
            self._tell(rendition)
        if rendition.track.video:
            self._pass_by(rendition)

    def drop(self, track: str) -> None:
        """A rung is not encoded any more. It has gaps until it begins again with a key frame."""
        rendition = self._by_track[track]
        rendition.cutter.drop()
        self._tell(rendition)

    def resume(self) -> int:
        """Go on with windows that another packager of the session has filled, from the next segment
        on that is seen whole. Output PTS, in ns, up to which they have pictures."""
        ends, self._before, self.elsewhere = [0], self.elsewhere, None
        for rendition in self.renditions.values():
            rendition.resume()
            if rendition.track.video and rendition.window.pieces:
                last = rendition.window.pieces[-1]
                ends.append(last.start_ns + last.duration_ns)
        return max(ends)

    def end(self) -> None:
        """The session is over: EXT-X-ENDLIST, and nobody waits any longer."""
        self.ended = True
        for rendition in self.renditions.values():
            rendition.cutter.finish()
            self._tell(rendition)

    def page(self, place: str, *, skip: bool) -> Page:
        """The media playlist of now, or its delta update. There is a full segment."""
        return self.renditions[place].page(skip=skip)

    @property
    def ready(self) -> bool:
        """Every rendition has a full segment, or will not have one soon."""
        if self.elsewhere is not None:
            return self.elsewhere.ready
        late = any(len(one.window.pieces) > _LATE_SEGMENTS for one in self.renditions.values())
        return late or all(map(self._plays, self.renditions))

    @property
    def playable(self) -> bool:
        """At least one rung has a full segment."""
        return any(one.track.video and self._plays(at) for at, one in self.renditions.items())

    def _plays(self, place: str) -> bool:
        """Whether it is in the multivariant playlist. What was there where the session was packaged
        before stays, though its first segment here may be yet to come: players read that playlist
        but once."""
        if self.elsewhere is not None:
            return place in self.elsewhere.said
        before = self._before is not None and place in self._before.said
        return before or self.renditions[place].window.ready

    @property
    def ladder(self) -> Ladder:
        """What the multivariant playlist says."""
        playable = filter(self._plays, self.renditions)
        return Ladder({place: self._said(place) for place in playable}, self.ready)

    def _said(self, place: str) -> Said:
        rendition = self.renditions[place]
        if self.elsewhere is not None:
            return self.elsewhere.said[place]
        if self._before is None or rendition.window.ready:
            return rendition.said
        return self._before.said[place]

    def multivariant(self, query: str = "") -> str:
        """The playlist on top, of what is playable; `query` follows every URI."""
        rungs: list[Measured] = []
        sounds: list[Measured] = []
        for place, said in self.ladder.said.items():
            rendition = self.renditions[place]
            uri = f"{self.start.session}/{place}/index.m3u8"
            measured = rendition.measured(f"{uri}?{query}" if query else uri, said)
            (rungs if rendition.track.video else sounds).append(measured)
        return multivariant(rungs, sounds)

    def _pass_by(self, front: Rendition) -> None:
        """Let time go on for the rungs that have no pictures."""
        at = front.cutter.end
        if at is None or front.cutter.absent:
            return
        for rendition in self.renditions.values():
            cutter = rendition.cutter
            if rendition is front or not rendition.track.video or cutter.end is None:
                continue
            if not cutter.absent and cutter.pace.ns(at - cutter.end) > self.settings.patience_ns:
                cutter.drop()
            if cutter.absent:
                revision = rendition.window.revision
                cutter.advance(at)
                if rendition.window.revision != revision:
                    self._tell(rendition)

    def copied(self, place: str, reports: Sequence[Report]) -> None:
        """A rendition's window has become what it is where the session is packaged, with these
        reports of the others."""
        rendition = self.renditions[place]
        rendition.report(reports)
        self._ring(rendition)

    def _tell(self, rendition: Rendition) -> None:
        """The first part of one concerns them all: their reports lacked it."""
        if rendition.track.place in self._reported or not rendition.window.revision:
            rendition.report(self._reports(rendition))
        else:
            self._reported.add(rendition.track.place)
            for one in self.renditions.values():
                one.report(self._reports(one))
        self._ring(rendition)

    def _reports(self, rendition: Rendition) -> list[Report]:
        return [
            Report(f"../{place}/index.m3u8", other.window.position())
            for place, other in self.renditions.items()
            if other is not rendition
        ]

    def _ring(self, rendition: Rendition) -> None:
        for callback in tuple(self._watchers):
            callback(rendition)
