"""FLV audio and video payloads, legacy and enhanced, taken apart.

Adobe FLV 10.1 annex E.4 and Enhanced RTMP v2 (ExVideoTagHeader, ExAudioTagHeader, multitrack,
ModEx).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from streamgen_edge.rtmp.limits import ProtocolError

VIDEO_CODECS = {b"avc1": "h264", b"hvc1": "hevc", b"av01": "av1", b"vp09": "vp9"}
AUDIO_CODECS = {
    b"mp4a": "aac",
    b"Opus": "opus",
    b"ac-3": "ac3",
    b"ec-3": "eac3",
    b"fLaC": "flac",
    b".mp3": "mp3",
}
_LEGACY_VIDEO = {7: "h264", 12: "hevc"}
_LEGACY_AUDIO = {2: "mp3", 7: "pcm_alaw", 8: "pcm_mulaw", 10: "aac", 14: "mp3"}
_WITH_OFFSET = {"h264", "hevc"}
"""Codecs whose enhanced coded frames carry a composition time offset."""
_KEY, _INFO = 1, 5
"""Frame types."""
_START, _FRAMES, _FRAMES_X, _METADATA, _MODEX = 0, 1, 3, 4, 7
"""Packet types; 3 and 4 are other things for sound."""
_MULTITRACK = {"video": 6, "audio": 5}
_ONE_TRACK, _MANY_TRACKS, _MANY_CODECS = range(3)


class Damaged(Exception):
    """One tag cannot be read. It is counted and left out; the stream goes on."""


class Part(Enum):
    """What a piece of a track is."""

    CONFIG = "config"
    """Decoder configuration record: avcC, hvcC, av1C, vpcC, AudioSpecificConfig, OpusHead, .."""
    FRAME = "frame"


@dataclass(slots=True)
class Piece:
    """One piece of one track in a tag."""

    kind: str
    """`video` or `audio`."""
    number: int
    """Track id; 0 without multitrack."""
    codec: str
    """libavcodec's name; empty for an audio codec that is not known here."""
    part: Part
    body: memoryview
    key: bool = True
    offset_ms: int = 0
    """Composition time: presentation minus decoding time."""
    nanoseconds: int = 0
    """To be added to the timestamp; below one millisecond."""
    rate_hz: int = 0
    channels: int = 0
    """Where the tag's header says it (MP3, G.711)."""


def video_pieces(body: bytearray) -> list[Piece]:
    """The pieces in a video payload. Raises `Damaged`; `ProtocolError` for a codec not taken."""
    if len(body) < 2:
        return []
    first = body[0]
    if first & 0x80:
        return _enhanced("video", body, first & 0x0F, key=first >> 4 & 7)
    frame, codec = first >> 4, _LEGACY_VIDEO.get(first & 0x0F)
    if codec is None:
        raise ProtocolError(_NOT_TAKEN)
    if frame == _INFO:
        return []
    if len(body) < 5:
        raise Damaged
    view = memoryview(body)[5:]
    match body[1]:
        case 0:
            return [Piece("video", 0, codec, Part.CONFIG, view)]
        case 1:
            offset = _signed24(body[2:5])
            return [Piece("video", 0, codec, Part.FRAME, view, frame == _KEY, offset)]
    return []


_NOT_TAKEN = "the picture's codec is not taken here: send H.264, HEVC, AV1 or VP9"


def audio_pieces(body: bytearray) -> list[Piece]:
    """The pieces in an audio payload. Raises `Damaged`."""
    if len(body) < 2:
        return []
    first = body[0]
    form = first >> 4
    if form == 9:
        return _enhanced("audio", body, first & 0x0F, key=_KEY)
    codec = _LEGACY_AUDIO.get(form, "")
    view = memoryview(body)
    if codec == "aac":
        part = Part.CONFIG if body[1] == 0 else Part.FRAME
        return [Piece("audio", 0, codec, part, view[2:])]
    rate = 8000 if form in (7, 8, 14) else 5512 << (first >> 2 & 3)
    rate = {5512: 5512, 11024: 11025, 22048: 22050, 44096: 44100}.get(rate, rate)
    return [Piece("audio", 0, codec, Part.FRAME, view[1:], rate_hz=rate, channels=1 + (first & 1))]


@dataclass(slots=True)
class _Cursor:
    """Reads the headers of a payload; behind its end is `Damaged`."""

    view: memoryview
    at: int

    def take(self, number: int) -> memoryview:
        end = self.at + number
        if end > len(self.view):
            raise Damaged
        taken = self.view[self.at : end]
        self.at = end
        return taken

    def number(self, width: int) -> int:
        return int.from_bytes(self.take(width), "big")


def _enhanced(kind: str, body: bytearray, packet: int, *, key: int) -> list[Piece]:
    cursor = _Cursor(memoryview(body), 1)
    nanoseconds = 0
    while packet == _MODEX:
        packet, found = _modifier(cursor)
        nanoseconds = found or nanoseconds
    if kind == "video" and key == _INFO and packet != _METADATA:
        return []
    if packet != _MULTITRACK[kind]:
        codec = _codec(kind, bytes(cursor.take(4)))
        return _piece(kind, 0, codec, packet, cursor.view[cursor.at :], key, nanoseconds)
    form = cursor.number(1)
    form, packet = form >> 4, form & 0x0F
    if form > _MANY_CODECS or packet in (_MULTITRACK[kind], _MODEX):
        raise Damaged
    codec = "" if form == _MANY_CODECS else _codec(kind, bytes(cursor.take(4)))
    pieces: list[Piece] = []
    seen: set[int] = set()
    while cursor.at < len(cursor.view):
        if form == _MANY_CODECS:
            codec = _codec(kind, bytes(cursor.take(4)))
        number = cursor.number(1)
        size = len(cursor.view) - cursor.at if form == _ONE_TRACK else cursor.number(3)
        part = cursor.take(size)
        if number in seen:
            raise Damaged
        seen.add(number)
        pieces += _piece(kind, number, codec, packet, part, key, nanoseconds)
    return pieces


def _modifier(cursor: _Cursor) -> tuple[int, int]:
    """One ModEx prefix: the packet type that follows it, and its nanoseconds (0 for others)."""
    size = cursor.number(1) + 1
    if size == 256:
        size = cursor.number(2) + 1
    data = cursor.take(size)
    form = cursor.number(1)
    nanoseconds = int.from_bytes(data[:3], "big") if form >> 4 == 0 and size >= 3 else 0
    return form & 0x0F, nanoseconds if nanoseconds < 1_000_000 else 0


def _codec(kind: str, name: bytes) -> str:
    if kind == "audio":
        return AUDIO_CODECS.get(name, "")
    if name not in VIDEO_CODECS:
        raise ProtocolError(_NOT_TAKEN)
    return VIDEO_CODECS[name]


def _piece(
    kind: str, number: int, codec: str, packet: int, body: memoryview, key: int, nanoseconds: int
) -> list[Piece]:
    if packet == _START:
        return [Piece(kind, number, codec, Part.CONFIG, body)]
    offset = 0
    if kind == "video" and packet == _FRAMES and codec in _WITH_OFFSET:
        if len(body) < 3:
            raise Damaged
        offset, body = _signed24(body[:3]), body[3:]
    if packet == _FRAMES or (packet == _FRAMES_X and kind == "video"):
        return [Piece(kind, number, codec, Part.FRAME, body, key == _KEY, offset, nanoseconds)]
    # Ends of sequence, HDR metadata, MPEG-2 TS headers and channel maps change nothing here.
    return []


def _signed24(data: bytearray | memoryview) -> int:
    number = int.from_bytes(data, "big")
    return number - (1 << 24) if number & 0x800000 else number
