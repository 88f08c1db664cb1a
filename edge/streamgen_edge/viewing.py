"""`Viewing`: what viewers get of one session: its tracks, the HLS packager, the feeds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from math import ceil

from streamgen.deliver.grid import NS
from streamgen.deliver.live import LivePackager, LiveSettings, LiveStart
from streamgen.errors import OutputError
from streamgen.media.packet import Packet
from streamgen.telemetry import Telemetry
from streamgen_edge.allowance import Audience
from streamgen_edge.attachment import OutTrack
from streamgen_edge.feed import Feed
from streamgen_edge.push.pushes import StreamPushes
from streamgen_edge.recording.recording import Recording

HZ, SOUND_HZ = 90_000, 48_000
"""Of the times of pictures and of sound."""
MOST_STILL = HZ // 5
REST = 3 * HZ // 10
MISSED = 5
"""A rung gets no pictures now when it is behind the lowest one by both, time and pictures: by so
many it cannot be when it is only slow."""


class Viewing:
    """Begins with the first worker's tracks, which never change, and outlives every worker."""

    def __init__(self, telemetry: Telemetry, settings: LiveSettings) -> None:
        self.packager: LivePackager | None = None
        self.tracks: Sequence[OutTrack] = ()
        self.last: dict[str, int] = {}
        """By track, the last PTS that viewers have."""
        self.feed = Feed()
        self.audience = Audience()
        """Who watches by HLS."""
        self.recording: Recording | None = None
        self.pushes: StreamPushes | None = None
        self.began: Callable[[], None] = lambda: None
        """Called when there is something to see."""
        self.frames = 0
        """Pictures of the top rung so far."""
        self.resting: set[str] = set()
        """Rungs that get no pictures while others do."""
        self._missed: Counter[str] = Counter()
        self.telemetry = telemetry
        self._count = telemetry.count
        self._settings = settings

    def begin(self, session: str, unix_ns: int, tracks: Sequence[OutTrack]) -> None:
        """The first picture is due now."""
        self.tracks = tracks
        live = [one for one in (track.for_hls() for track in tracks) if one is not None]
        start = LiveStart(session, unix_ns)
        self.packager = LivePackager(start, live, telemetry=self.telemetry, settings=self._settings)
        if self.recording is not None:
            self.recording.follow(self.packager)
        if self.pushes is not None:
            self.pushes.follow(self)
        self.began()

    def go_on(self, session: str, unix_ns: int, tracks: Sequence[OutTrack]) -> int:
        """Another edge had the session: with as much of it as is here. Where that ends."""
        if self.packager is None:
            self.begin(session, unix_ns, tracks)
        assert self.packager is not None
        end = -(-self.packager.resume() * HZ // NS)
        last = (pts for name, pts in self.last.items() if name.startswith("video/"))
        return max([end, *last])

    def let_go(self) -> None:
        """The session is another edge's, where it is recorded and pushed. Viewers stay."""
        self.record(None)
        if self.pushes is not None:
            self.pushes.end(moved=True)
        self.pushes, self.began = None, lambda: None

    def push(self, pushes: StreamPushes) -> None:
        """From the beginning on, these are sent what viewers get."""
        self.pushes = pushes
        if self.packager is not None:
            pushes.follow(self)

    def record(self, recording: Recording | None) -> None:
        """The next segment begins this recording; the one before it ends now."""
        if self.recording is not None:
            self.recording.end()
        self.recording = recording
        if recording is not None and self.packager is not None:
            recording.follow(self.packager)

    @property
    def rungs(self) -> list[tuple[str, int, int]]:
        """Name, width and height of each, for a worker that takes the session over."""
        pictures = (track for track in self.tracks if track.kind == "video")
        return [(t.name.removeprefix("video/"), t.width, t.height) for t in pictures]

    @property
    def still(self) -> int:
        """Distance of pictures that stand in for others, 0.2 s at most, of which whole ones fill a
        part: else parts would be longer than they may be."""
        assert self.packager is not None
        part = next(r.cutter.pace.part for r in self.packager.renditions.values() if r.track.video)
        return part // ceil(part / MOST_STILL)

    @property
    def sound_ahead_ms(self) -> float | None:
        """How much further the sound is than the picture, of what viewers have."""
        picture = self.last.get(self.tracks[0].name) if self.tracks else None
        sound = self.last.get("audio/aac")
        if picture is None or sound is None:
            return None
        return sound * 1e3 / SOUND_HZ - picture * 1e3 / HZ

    def measure(self) -> None:
        """For who scrapes."""
        ahead = self.sound_ahead_ms
        if ahead is not None:
            self.telemetry.gauge("sound_ahead_ms", "sound", ahead)

    def put(self, packet: Packet) -> bool:
        """The next packet of a track; False for one that viewers have already."""
        pts = packet.pts or 0
        if pts <= self.last.get(packet.track, pts - 1):
            self._count("double", packet.track)
            return False
        self.last[packet.track] = pts
        if packet.track.startswith("video/"):
            self._look_for_rest(packet.track, pts)
        self.frames += packet.track == self.tracks[0].name
        self.feed.put(packet)
        if self.packager is not None and packet.track != "audio/opus":
            try:
                self.packager.write(packet)
            except (KeyError, OutputError) as error:
                self._count("unpacked", type(error).__name__)
        return True

    def _look_for_rest(self, track: str, pts: int) -> None:
        """Rungs at the top may rest, for want of time or for others: their players must hear so
        before they run dry. The lowest never does."""
        self.resting.discard(track)
        self._missed[track] = 0
        *higher, lowest = [one.name for one in self.tracks if one.kind == "video"]
        if track != lowest:
            return
        for rung in higher:
            self._missed[rung] += 1
            behind = pts - self.last.get(rung, pts) > REST and self._missed[rung] > MISSED
            if behind and rung not in self.resting:
                self.resting.add(rung)
                self._count("rested", rung)
                self.drop(rung)

    def drop(self, track: str) -> None:
        """A rung rests, or its encoder failed: its players see gaps, the others nothing."""
        if self.packager is not None and track.startswith("video/"):
            self.packager.drop(track)

    def end(self) -> None:
        try:
            if self.packager is not None and not self.packager.ended:
                self.packager.end()
        finally:  # the others end even where that is what broke
            self.feed.end()
            if self.pushes is not None:
                self.pushes.end()
            if self.recording is not None:
                self.recording.end()
