"""`Rendition`: one track of a live stream on its way to HLS players, from packet to playlist."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from math import ceil

from streamgen.deliver.cutting import Cutter, Pace
from streamgen.deliver.fragments import Sample, audio_header, video_header
from streamgen.deliver.grid import NS, Grid
from streamgen.deliver.h264 import Parameters, access_unit, parameters
from streamgen.deliver.live_playlist import Facts, Report, media_playlist
from streamgen.deliver.playlist import Rates, Segment
from streamgen.deliver.playlist import Rendition as Measured
from streamgen.deliver.window import Window, forget
from streamgen.errors import ConfigError
from streamgen.media.packet import Packet

VIDEO_HZ = 90_000
AAC_FRAME = 1024
PEAK = Fraction(11, 10)
"""What rate control may yet do, over the target bitrate; see `encode/ffmpeg.py`."""
_MOST_SLACK = Fraction(8, 100)
"""Of a part: with more, parts cut late and early would differ by over 15 % (4.4.4.9)."""
_SILENCE = {
    1: bytes.fromhex("00c800802380"),
    2: bytes.fromhex("210049900219002380"),
}
"""AAC-LC frames without sound, by channels."""


@dataclass(frozen=True, slots=True)
class LiveTrack:
    """What must be known of a track before its first packet."""

    name: str
    """As in `Packet.track`: `video/720p`, `audio/0`."""
    codec: str
    """`h264` or `aac`."""
    bitrate_bps: int
    rate: Fraction | None = None
    """Nominal frame rate of video in Hz; None where it varies."""
    config: bytes = b""
    """AudioSpecificConfig. Video brings its parameter sets along."""
    rate_hz: int = 48_000
    channels: int = 2
    language: str | None = None
    title: str | None = None

    @property
    def place(self) -> str:
        """Its folder in the URIs: `720p`, `audio-0`."""
        return self.name.removeprefix("video/").replace("/", "-")

    @property
    def video(self) -> bool:
        return self.name.startswith("video/")


@dataclass(frozen=True, slots=True)
class Said:
    """What the multivariant playlist says of a rendition that its track does not."""

    codecs: str
    size: tuple[int, int]
    rates: Rates


@dataclass(frozen=True)
class Page:
    """One rendered playlist, shared by all who ask for it."""

    text: bytes
    revision: int

    @cached_property
    def packed(self) -> bytes:
        return gzip.compress(self.text, 5, mtime=0)

    @cached_property
    def tag(self) -> bytes:
        """Names this text, wherever it is rendered."""
        return hashlib.sha256(self.text).hexdigest()[:16].encode()


class Rendition:
    """One media playlist and its media. Owned by one thread."""

    def __init__(
        self,
        track: LiveTrack,
        grid: Grid,
        *,
        part_ns: int,
        window_ns: int,
        breaks: Set[int],
        count: Callable[[str], None],
    ) -> None:
        """Raises `ConfigError` for a track that has no place in a live ladder."""
        if track.codec != ("h264" if track.video else "aac"):
            raise ConfigError(f"{track.name}: {track.codec} has no place in a live HLS ladder")
        self.track = track
        self.window = Window(window_ns)
        pace = _pace(track, part_ns)
        self.facts = Facts(grid, pace.length_ns(pace.target))
        self.parameters: Parameters | None = None
        """Of the pictures; None before the first key frame."""
        self.cutter = Cutter(pace, grid, self.window, count, video=track.video)
        self._breaks = breaks
        self._count = count
        self._grid = grid
        self.reports: Sequence[Report] = ()
        """How far the others are, or were when this one published last."""
        self._wait_after: int | None = None
        self._pages: dict[bool, Page] = {}
        if not track.video:
            if track.channels not in _SILENCE or not track.config:
                raise ConfigError(f"{track.name}: live sound is AAC with one or two channels")
            self._use(audio_header(track.config, track.channels, track.rate_hz))

    @property
    def codecs(self) -> str:
        """RFC 6381, from what the media says of itself."""
        if self.parameters is not None:
            return self.parameters.codecs
        kind = self.track.config[0] >> 3
        if kind == 31:
            kind = 32 + ((self.track.config[0] & 7) << 3 | self.track.config[1] >> 5)
        return f"mp4a.40.{kind}"

    def write(self, packet: Packet) -> int | None:
        """Take a packet. The number of a segment that must begin with a discontinuity, or None.

        Raises `OutputError` when the parameter sets are broken.
        """
        if packet.pts is None:
            self._count("without_time")
            return None
        scale = self.cutter.pace.timescale
        at, shown = (_ticks(time, packet, scale) for time in (packet.dts, packet.pts))
        length = _ticks(packet.duration, packet, scale) or 0
        if shown is None or shown < 0 or self.window.ended:
            self._count("outside")
            return None
        if self.track.video:
            return self._write_video(packet, shown if at is None else at, shown, length)
        self._fill(shown)
        self._put(Sample(shown, 0, AAC_FRAME, bytes(packet.data), True))
        return None

    def report(self, reports: Sequence[Report]) -> None:
        """How far the others are, from now on until this one publishes again."""
        self.reports = reports
        self._pages.clear()

    def resume(self) -> None:
        """Go on with a window that another packager of the session has filled."""
        self._wait_after = None
        self.cutter.resume()

    def page(self, *, skip: bool) -> Page:
        """The playlist of now. Rendered once for each new part; there is a full segment."""
        page = self._pages.get(skip)
        if page is None or page.revision != self.window.revision:
            text = media_playlist(self.window, self.facts, self.reports, self._breaks, skip=skip)
            page = self._pages[skip] = Page(text.encode(), self.window.revision)
        return page

    def forget(self) -> None:
        """Let go of the window: it begins anew with what comes."""
        forget(self.window)
        self.parameters = None

    @property
    def said(self) -> Said:
        """Rates as measured over the window, and at least what the encoder may do."""
        length_s = self.facts.grid.segment_ns / NS
        may = Segment("", length_s, ceil(self.track.bitrate_bps * PEAK * Fraction(length_s) / 8))
        done = (piece for piece in self.window.listed() if piece.complete and not piece.gap)
        segments = [Segment(p.uri, p.duration_ns / NS, p.size_bytes) for p in done]
        size = self.parameters.display if self.parameters is not None else (0, 0)
        return Said(self.codecs, size, Rates.of((*segments, may), length_s))

    def measured(self, uri: str, said: Said) -> Measured:
        """What the multivariant playlist says of it, as it is here or where it comes from."""
        return Measured(
            uri=uri,
            codecs=said.codecs,
            rates=said.rates,
            size=said.size,
            rate=self.track.rate,
            language=self.track.language,
            title=self.track.title,
            default=True,
            channels=0 if self.track.video else self.track.channels,
        )

    def _write_video(self, packet: Packet, at: int, shown: int, length: int) -> int | None:
        unit = access_unit(bytes(packet.data))
        if not unit.sample:
            return None
        broken = None
        if unit.idr and unit.sps and unit.pps:
            broken = self._changed(unit.sps, unit.pps, shown)
        if self.parameters is None or self._waits(shown, unit.idr):
            self._count("before_key_frame")
            return None
        self._put(Sample(at, shown - at, length, unit.sample, unit.idr))
        return broken

    def _changed(self, sps: bytes, pps: bytes, at: int) -> int | None:
        """New parameter sets need a new initialisation section, which only a segment can have."""
        known = self.parameters
        if known is not None and (known.sps, known.pps) == (sps, pps):
            return None
        if known is not None and self.cutter.cell(at) == self.cutter.number:
            self._wait_after = self.cutter.number
            return None
        former = self.cutter.header
        self.parameters = parameters(sps, pps)
        self._use(video_header(self.parameters, VIDEO_HZ))
        return self.cutter.cell(at) if former not in ("", self.cutter.header) else None

    def _waits(self, at: int, idr: bool) -> bool:
        if self._wait_after is None:
            return False
        if not idr or self.cutter.cell(at) <= self._wait_after:
            return True
        self._wait_after = None
        return False

    def _fill(self, at: int) -> None:
        """Silence for lost sound: players stop at holes."""
        end = self.cutter.end
        if end is None or at - end > 2 * self.window.window_ns * self.track.rate_hz // NS:
            return
        while at - end > AAC_FRAME // 2 and at - end >= AAC_FRAME:
            self._put(Sample(end, 0, AAC_FRAME, _SILENCE[self.track.channels], True))
            self._count("silence")
            end += AAC_FRAME

    def _put(self, sample: Sample) -> None:
        self.cutter.put(sample)

    def _use(self, header: bytes) -> None:
        """URIs of initialisation sections are hashes: the same on every packager, for ever."""
        uri = f"init-{hashlib.sha256(header).hexdigest()[:12]}.mp4"
        self.window.headers[uri] = header
        self.cutter.header = uri


def _ticks(time: int | None, packet: Packet, scale: int) -> int | None:
    """A time of a packet in the track's own unit, rounded the same way wherever it is asked."""
    if time is None:
        return None
    above, below = packet.time_base.numerator * scale, packet.time_base.denominator
    return (2 * time * above + below) // (2 * below)


def _pace(track: LiveTrack, part_ns: int) -> Pace:
    """Parts are whole pictures or sound frames, as few as fill `part_ns`."""
    scale = VIDEO_HZ if track.video else track.rate_hz
    if not track.video:
        frames = ceil(Fraction(part_ns * scale, NS * AAC_FRAME))
        return Pace(scale, frames * AAC_FRAME, 0)
    if track.rate is None:
        part = Fraction(part_ns * scale, NS)
        return Pace(scale, ceil(part), int(part * _MOST_SLACK))
    # 333 ms at 30 Hz are 9.99 pictures; 3 parts must not need 4 requests because of a rounding.
    pictures = ceil(Fraction(part_ns, NS) * track.rate - Fraction(1, 20))
    part = max(pictures, 1) / track.rate * scale
    return Pace(scale, ceil(part), int(min(scale / track.rate / 2, part * _MOST_SLACK)))
