"""`LinkSource`: the packets of one live stream as they come from the edge.

The edge has mended their times already (it outlives the worker), so what comes here lies on the
output's timeline. A video packet without bytes says "show the last picture again" (a key frame
follows if it says `keyframe`), a sound packet without bytes "there is no sound up to here": the
edge sends both while a publisher is away, or while nothing comes of it that could be shown.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av
from av.error import FFmpegError

from streamgen.errors import SourceError
from streamgen.media.color import color_of
from streamgen.media.credit import Intake
from streamgen.media.frame import Color
from streamgen.media.orientation import UPRIGHT, orientation_of
from streamgen.media.packet import Packet
from streamgen.media.queue import Cancelled
from streamgen.media.tracks import SourceInfo, VideoTrack

VIDEO, SOUND = "video/0", "audio/0"
MOST_BYTES = 64 << 20
"""Beyond every credit that is given: a sender that ignores it ends its stream."""
MOST_FORMS = 16
"""Forms of one epoch's sound that may wait at once."""
BLANK = (640, 360)
"""Size of the picture of a stream that has only sound."""
_DECODERS = {"h264": "h264", "hevc": "hevc", "av1": "libdav1d", "vp8": "vp8", "vp9": "vp9"}
"""By codec; libavcodec's own of AV1 needs hardware."""
MOST_PIXELS = 4096 * 2304
"""Of one picture, as in H.264's level 5.2: a decoder keeps up to 17 of them in memory."""


@dataclass(frozen=True, slots=True)
class Description:
    """What the publisher says of a track before its packets: codec and decoder configuration."""

    codec: str
    extradata: bytes = b""


class LinkSource:
    """`protocols.Source`. `feed` from the link's thread, `packets` from the session's."""

    def __init__(self, info: SourceInfo) -> None:
        self.info = info
        self.intake = Intake()
        self._sounds: dict[int, deque[tuple[int, Description]]] = {}
        """By epoch, each form of its sound and the time from which on it comes so."""
        self._told: dict[int, Description] = {}
        """Forms of sound of which no packet has come."""
        self._items: deque[Packet] = deque()
        self._bytes = 0
        self._ended = False
        self._cancelled = False
        self._changed = threading.Condition()

    def feed(self, packet: Packet) -> None:
        """Take one packet in; never waits. What is beyond all credit ends the stream."""
        with self._changed:
            if self._bytes > MOST_BYTES:
                self._cancelled = True
            if packet.track == SOUND and packet.size_bytes and packet.epoch in self._told:
                forms = self._sounds.setdefault(packet.epoch, deque(maxlen=MOST_FORMS))
                forms.append((packet.pts or 0, self._told.pop(packet.epoch)))
            self._items.append(packet)
            self._bytes += packet.size_bytes
            self._changed.notify()

    def describe(self, epoch: int, description: Description) -> None:
        """The sound of this epoch that comes from now on."""
        with self._changed:
            self._told[epoch] = description

    def sound(self, epoch: int, at: int) -> Description | None:
        """How the sound of an epoch is coded at this time; None while there is none. Any thread.

        What was fed before another form was told of may still wait to be decoded, in its own.
        """
        with self._changed:
            forms = self._sounds.get(epoch, ())
            begun = [form for start, form in forms if start <= at]
            return begun[-1] if begun else next((form for _, form in forms), None)

    def end(self) -> None:
        """Nothing more comes; what is inside is still worked on."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def packets(self) -> Iterator[Packet]:
        while True:
            with self._changed:
                while not self._items and not self._ended and not self._cancelled:
                    self._changed.wait()
                if self._cancelled:
                    raise Cancelled
                if not self._items:
                    return
                packet = self._items.popleft()
                self._bytes -= packet.size_bytes
            yield packet
            self.intake.consumed(packet, packet.size_bytes)

    def cancel(self) -> None:
        with self._changed:
            self._cancelled = True
            self._changed.notify_all()

    def close(self) -> None:
        self.cancel()


class MendedTimes:
    """Stands where a `Timeline` does: the edge has mended everything; only announced pictures are
    counted."""

    def __init__(self) -> None:
        self.announced = 0

    def mend(self, packet: Packet, received_ns: int = 0) -> Packet:
        if packet.track == VIDEO and not packet.discard:
            self.announced += 1
        return packet


def no_video(time_base: Fraction) -> VideoTrack:
    """Of a stream that has only sound: there is nothing to decode, all pictures stand in."""
    return VideoTrack(
        name=VIDEO,
        codec="",
        width=BLANK[0],
        height=BLANK[1],
        time_base=time_base,
        rate=None,
        frames=0,
        duration_s=None,
        sar=Fraction(1),
        rotation=0,
        color=Color(),
        codec_context=None,
    )


def probe(
    codec: str, unit: bytes, *, name: str, time_base: Fraction, rate: Fraction | None
) -> VideoTrack:
    """Size, shape of pixels and colour of a video, from its first key access unit, decoded.

    All as it is shown: upright, whatever its camera says of its orientation. A key frame that
    gives no picture by itself, as the first field of a pair, has told these all the same.
    Raises `SourceError` when it is no key frame of a codec that we read.
    """
    if codec not in _DECODERS:
        raise SourceError(f"{name}: {codec} video is not supported")
    try:
        trial = _decoder(codec)
        packet: Any = av.Packet(unit)
        pictures = [*trial.decode(packet), *trial.decode(None)]
    except FFmpegError as error:
        raise SourceError(
            f"{name}: the first key frame is damaged, or has more than {MOST_PIXELS} pixels"
        ) from error
    if not pictures and not (trial.width and trial.pix_fmt):
        raise SourceError(f"{name}: the first key frame gives no picture")
    first = pictures[0] if pictures else trial
    size, sar = (first.width, first.height), Fraction(trial.sample_aspect_ratio or 1)
    orientation = orientation_of(first) if pictures else UPRIGHT
    if orientation.rotation % 180:
        size, sar = size[::-1], 1 / sar
    return VideoTrack(
        name=VIDEO,
        codec=codec,
        width=size[0],
        height=size[1],
        time_base=time_base,
        rate=rate,
        frames=0,
        duration_s=None,
        sar=sar,
        rotation=0,
        color=color_of(
            first.colorspace,
            first.color_range,
            first.color_primaries,
            first.color_trc,
            height=first.height,
            pix_fmt=first.format.name if pictures else trial.pix_fmt,
        ),
        codec_context=_decoder(codec),
    )


def _decoder(codec: str) -> Any:
    context = av.CodecContext.create(_DECODERS[codec], "r")
    context.options = {"max_pixels": str(MOST_PIXELS)}
    return context
