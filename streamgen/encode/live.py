"""`LiveSound`: the sound of a live stream: always there, always AAC and Opus, 48 kHz stereo.

What comes is decoded, brought to that form and laid on one unbroken line that never ends before
the stream does. Where nothing comes there is silence, counted `corrected{silence}`. Both codecs'
packets lie on a grid of their own (1024 and 960 samples) that begins with the session, so a worker
that takes over goes on with exactly the packets that the former one would have made.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Any, Protocol

import av
import numpy as np

from streamgen.encode.audio import AudioSettings, SoundEncoder
from streamgen.encode.samples import SampleLine
from streamgen.media.packet import Packet
from streamgen.media.tracks import EncodedTrack
from streamgen.telemetry import Telemetry

RATE_HZ = 48_000
GRID = 15_360
"""Samples after which the frames of both codecs begin together (AAC 1024, Opus 960)."""
PREROLL = 4_800
"""Samples decoded and encoded before the first that is sent, so that no codec starts cold."""
LATE = RATE_HZ // 2
"""Sound may come this much later than the picture before its place is filled with silence."""
_LAYOUT = "stereo"
_FORMAT = "flt"
_CODECS = {"audio/aac": "aac", "audio/opus": "opus"}
_TELEPHONE = {"pcm_alaw": 8_000, "pcm_mulaw": 8_000}
"""G.711 says nothing of itself: one channel at this rate."""


class Described(Protocol):
    """What the publisher says of its sound."""

    @property
    def codec(self) -> str: ...

    @property
    def extradata(self) -> bytes: ...


def begins_at(last_end: int) -> int:
    """Where the line of a worker begins whose predecessor's sound was sent up to `last_end`."""
    return max(0, last_end - PREROLL) // GRID * GRID


class LiveSound:
    """One sound track in, one of each codec out (`encode.audio.AudioPath`). Used by one thread.

    A packet without bytes says that the stream has come to its time. `describe(epoch, pts)` gives
    the decoder configuration of a packet, None while there is no sound.
    """

    def __init__(
        self,
        describe: Callable[[int, int], Described | None],
        settings: AudioSettings,
        telemetry: Telemetry,
        *,
        start: int | None = 0,
    ) -> None:
        """`start` is the first sample of the line, a multiple of `GRID`; None: the last such one
        before what comes first."""
        self._describe = describe
        self._telemetry = telemetry
        self._encoders = [
            SoundEncoder(codec, RATE_HZ, _LAYOUT, settings.bitrate, name)
            for name, codec in _CODECS.items()
        ]
        self._line = SampleLine(RATE_HZ, 2, telemetry)
        self._line.next = start
        self._decoder: Any = None
        self._resampler: Any = None
        self._heard: tuple[str, str, int] | None = None
        self._epoch: int | None = None
        self._described: Described | None = None
        self._heard_until = start or 0
        """End of the last sound that came; long before now means that none is expected."""
        self._after_silence = True
        """Sound that comes now may begin at its very own time: no click is heard."""
        self.samples_in = 0
        self.track = self._encoders[0].track

    @property
    def tracks(self) -> Sequence[EncodedTrack]:
        return [replace(e.track, default=not n) for n, e in enumerate(self._encoders)]

    @property
    def samples_out(self) -> int:
        return self._encoders[0].samples

    @property
    def worst_offset_ms(self) -> float:
        return 1000 * self._line.worst / RATE_HZ

    def push(self, packet: Packet) -> list[Packet]:
        """Give what the packet completes. A damaged one is lost, counted `lost{audio}`."""
        at = round((packet.pts or 0) * packet.time_base * RATE_HZ)
        if self._line.next is None:
            self._line.next = self._heard_until = begins_at(at)
        if not packet.size_bytes:
            return self._silent_until(at, packet)
        described = self._describe(packet.epoch, packet.pts or 0)
        if packet.epoch != self._epoch or described != self._described:
            self._open(packet.epoch, described)
        if self._decoder is None:
            self._telemetry.count("lost", "audio")
            return []
        unit: Any = av.Packet(bytes(packet.data))
        unit.pts, unit.dts, unit.time_base = packet.pts, packet.pts, packet.time_base
        try:
            frames = self._decoder.decode(unit)
        except av.FFmpegError:
            self._telemetry.count("lost", "audio")
            return []
        return [out for frame in frames for out in self._sounded(frame, packet.time_base)]

    def flush(self) -> list[Packet]:
        """The encoders' last frames."""
        return [out for encoder in self._encoders for out in encoder.flush(self._epoch or 0)]

    def _open(self, epoch: int, described: Described | None) -> None:
        """A decoder for the sound from here on; none where nobody has described it."""
        self._epoch, self._described = epoch, described
        self._decoder = self._resampler = self._heard = None
        if described is None:
            return
        try:
            decoder: Any = av.CodecContext.create(described.codec, "r")
            if described.extradata:
                decoder.extradata = described.extradata
            if described.codec in _TELEPHONE:
                decoder.sample_rate = _TELEPHONE[described.codec]
                decoder.layout = "mono"
            decoder.open()
        except (av.FFmpegError, ValueError):
            self._telemetry.count("lost", "audio_description")
            return
        self._decoder = decoder

    def _silent_until(self, at: int, packet: Packet) -> list[Packet]:
        """The picture has come to sample `at`: sound that did not come in time never will."""
        described = self._describe(packet.epoch, packet.pts or 0)
        expected = at - self._heard_until < 2 * LATE and described is not None
        until = at - LATE if expected else at
        line = self._line
        if line.next is None or until - line.next < RATE_HZ // 50:
            return []
        self._telemetry.count("corrected", "silence")
        self._after_silence = True
        out: list[Packet] = []
        while line.next < until:
            length = min(RATE_HZ, until - line.next)
            out += self._laid(line.next, np.zeros((length, 2), np.float32))
        return out

    def _sounded(self, frame: Any, time_base: Fraction) -> list[Packet]:
        self.samples_in += frame.samples
        heard = (frame.format.name, frame.layout.name, frame.sample_rate)
        if heard != self._heard:
            self._heard = heard
            self._resampler = av.AudioResampler(_FORMAT, _LAYOUT, RATE_HZ)
        if frame.pts is not None:
            frame.pts = round(frame.pts * (frame.time_base or time_base) * frame.sample_rate)
            frame.time_base = Fraction(1, frame.sample_rate)
        out: list[Packet] = []
        for sound in self._resampler.resample(frame):
            start = None if sound.pts is None else round(sound.pts * sound.time_base * RATE_HZ)
            block = sound.to_ndarray().reshape(-1, 2)
            out += self._laid(start, block)
            self._heard_until = self._line.next or 0
            self._after_silence = False
        return out

    def _laid(self, start: int | None, block: Any) -> list[Packet]:
        line = self._line
        if start is not None and line.next is not None and start + len(block) <= line.next:
            self._telemetry.count("corrected", "audio_overlap")
            return []
        out: list[Packet] = []
        for at, samples in line.place(start, block, exact=self._after_silence):
            for encoder in self._encoders:
                out += encoder.encode(at, samples, self._epoch or 0)
        return out


def last_end(sent: Mapping[str, int]) -> int:
    """From the last PTS of each track that was sent: the sample up to which all sound is out."""
    ends = [sent[name] for name in _CODECS if name in sent]
    return min(ends, default=0)
