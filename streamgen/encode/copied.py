"""`CopiedAudio`: sound that goes out in the packets it came in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction

from streamgen.encode.adts import AdtsCut, describable, described
from streamgen.media.packet import Packet
from streamgen.media.tracks import AudioTrack, EncodedTrack
from streamgen.telemetry import Telemetry

PREROLL_S = 0.1
"""Copied sound keeps this much of what lies before the first heard packet, for the decoder."""


def copyable(track: AudioTrack) -> bool:
    """True when a container can be told what the track holds without decoding it."""
    return described(track) or describable(track)


class CopiedAudio:
    """Packets as they are, under another name. Side data (priming, padding) goes along.

    Where times were mended, as after a splice, two packets may claim one moment: every decoder
    plays both in full, so the second is left out, counted as `corrected{audio_overlap}`, or all
    sound behind it would be late. What that leaves is measured by `worst_offset_ms`.
    """

    def __init__(self, track: AudioTrack, telemetry: Telemetry, name: str, default: bool) -> None:
        context = track.stream.codec_context
        self._adts = None if described(track) else AdtsCut(track)
        self._telemetry = telemetry
        self.track = EncodedTrack(
            name=name,
            kind="audio",
            codec=track.codec,
            time_base=track.time_base,
            template=track.stream if self._adts is None else self._adts.template,
            bitrate_bps=context.bit_rate or 0,
            rate_hz=track.rate_hz,
            channels=track.channels,
            language=track.language,
            title=track.title,
            default=default,
        )
        self._played = _Played(track)
        self._ticks = 0
        self._end: int | None = None
        self._preroll: list[Packet] | None = []

    @property
    def tracks(self) -> Sequence[EncodedTrack]:
        return (self.track,)

    def push(self, packet: Packet) -> list[Packet]:
        if self._overlaps(packet):
            self._telemetry.count("corrected", "audio_overlap")
            return []
        packet = replace(packet, track=self.track.name)
        if self._adts is not None:
            bare = self._adts.cut(packet)
            if bare is None:
                self._telemetry.count("lost", "audio")
                return []
            packet = bare
        if self._preroll is None:
            return [] if packet.discard else [self._counted(packet)]
        if packet.discard:
            self._preroll.append(packet)
            return []
        kept = [before for before in self._preroll if _near(before, packet)]
        self._preroll = None
        return [*kept, self._counted(packet)]

    def flush(self) -> list[Packet]:
        return []

    def _overlaps(self, packet: Packet) -> bool:
        """More than half of it lies before the end of its predecessor."""
        if packet.pts is None:
            return False
        if self._end is not None and packet.pts < self._end - packet.duration // 2:
            return True
        self._end = packet.pts + packet.duration
        return False

    def _counted(self, packet: Packet) -> Packet:
        self._ticks += packet.duration
        self._played.follow(packet)
        return packet

    @property
    def worst_offset_ms(self) -> float:
        """Largest distance between the time of a heard packet and the moment at which it sounds
        when all are played back to back from the first, as players do that set the clock once and
        then count samples: a gap makes all that follows early, an overlap late. A player that
        obeys every time of the file is never further off.
        """
        return float(1000 * self._played.worst * self.track.time_base)

    @property
    def samples_in(self) -> int:
        return round(self._ticks * self.track.time_base * self.track.rate_hz)

    @property
    def samples_out(self) -> int:
        return self.samples_in


def _near(before: Packet, first: Packet) -> bool:
    if before.pts is None or first.pts is None:
        return False
    return (first.pts - before.pts) * first.time_base <= PREROLL_S


class _Played:
    """The clock of a player that counts samples, beside the times that the packets carry.

    Times and lengths may be rounded (to milliseconds in MKV and FLV), and rounding must not add up
    to a drift that nobody hears: codecs with a fixed frame size give the exact length, and for
    others one tick between two packets counts as none.
    """

    def __init__(self, track: AudioTrack) -> None:
        size = track.stream.codec_context.frame_size or 0
        self._frame = Fraction(size, track.rate_hz) / track.time_base
        self._end: Fraction | None = None
        self._drift = Fraction(0)
        self.worst = Fraction(0)
        """In ticks of the track."""

    def follow(self, packet: Packet) -> None:
        if packet.pts is None:
            return
        exact = not packet.duration or abs(self._frame - packet.duration) < 1
        length = self._frame if exact else Fraction(packet.duration)
        gap = Fraction(0) if self._end is None else packet.pts - self._end
        if exact or abs(gap) > 1:
            self._drift += gap
        self._end = packet.pts + length if length else None
        self.worst = max(self.worst, abs(self._drift))
