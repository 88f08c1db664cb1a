"""Audio and video messages become tracks and packets: the core's noun, not yet on a timeline.

Picture is Annex B with SPS and PPS (VPS) before each key picture, or AV1 OBUs with the sequence
header in each key temporal unit; sound is raw, its configuration in the track. What cannot be read
is counted and left out, and the stream goes on.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

from streamgen.media.packet import Packet
from streamgen_edge.rtmp.clock import MessageClock
from streamgen_edge.rtmp.messages import VIDEO, Message
from streamgen_edge.rtmp.nal import FAMILIES, AccessUnit, read_configuration, to_start_codes
from streamgen_edge.rtmp.obu import has_sequence_header
from streamgen_edge.rtmp.sizes import picture_size
from streamgen_edge.rtmp.sound import aac_format, flac_format, opus_format, without_adts
from streamgen_edge.rtmp.tags import Damaged, Part, Piece, audio_pieces, video_pieces

MILLISECONDS = Fraction(1, 1000)
FINE = Fraction(1, 90_000)
"""Time base of tracks whose times have nanoseconds."""
_FINE_PER_MS = 90
_NEEDS_CONFIG = {"h264", "hevc", "av1", "vp9", "aac", "opus", "flac"}
_FORMATS: dict[str, Callable[[bytes], tuple[int, int] | None]] = {
    "aac": aac_format,
    "opus": opus_format,
    "flac": flac_format,
}
_AV1_RECORD = 4
"""Bytes of an av1C before its OBUs (AV1-ISOBMFF 2.3.3)."""


@dataclass(frozen=True, slots=True)
class Track:
    """What a decoder must know of the packets of this name that follow."""

    name: str
    """`video/0`, `audio/0`: kind and track id."""
    codec: str
    """libavcodec's name: `h264`, `hevc`, `av1`, `vp9`, `aac`, `opus`, `ac3`, `eac3`, `flac`, .."""
    extradata: bytes
    """As libavcodec wants it: parameter sets in Annex B, av1C, AudioSpecificConfig, OpusHead, .."""
    time_base: Fraction
    width: int = 0
    height: int = 0
    """In pixels; 0 where unknown."""
    rate_hz: int = 0
    channels: int = 0


@dataclass(slots=True, eq=False)
class _State:
    """One track as it stands."""

    track: Track
    record: bytes | None = None
    """The configuration as it came."""
    length_size: int = 4
    keys_seen: bool = False
    started: bool = False


class Demuxer:
    """`feed` the sound and picture messages of one publisher, in their order.

    `count` is told, once per tag, what was left out or mended: `damaged`, `unsupported`,
    `too_many_tracks`, `no_config`, `empty`, `no_picture`, `wrap`, `adts`.
    """

    def __init__(self, *, most_tracks: int, count: Callable[[str], None]) -> None:
        self._most = most_tracks
        self._count = count
        self._clock = MessageClock()
        self._states: dict[tuple[str, int], _State] = {}

    def feed(self, message: Message) -> list[Track | Packet]:
        """New or changed tracks, and packets. Raises `ProtocolError` for a picture's codec that is
        not taken."""
        wraps = self._clock.wraps
        time_ms = self._clock.unwrap(message.timestamp)
        if self._clock.wraps != wraps:
            self._count("wrap")
        out: list[Track | Packet] = []
        try:
            read = video_pieces if message.kind == VIDEO else audio_pieces
            for piece in read(message.body):
                self._piece(piece, time_ms, out)
        except Damaged:
            self._count("damaged")
        return out

    def _piece(self, piece: Piece, time_ms: int, out: list[Track | Packet]) -> None:
        if not piece.codec:
            self._count("unsupported")
            return
        state = self._states.get((piece.kind, piece.number))
        if piece.part is Part.CONFIG:
            self._configure(piece, state, out)
            return
        if state is None or state.track.codec != piece.codec:
            if piece.codec in _NEEDS_CONFIG:
                self._count("no_config")
                return
            state = self._described(piece, state, b"", (piece.rate_hz, piece.channels), out)
            if state is None:
                return
        if not piece.body:
            self._count("empty")
            return
        if piece.nanoseconds and not state.started and state.track.time_base != FINE:
            state.track = replace(state.track, time_base=FINE)
            out.append(state.track)
        packet = self._packet(piece, state, time_ms)
        if packet is not None:
            state.started = True
            out.append(packet)

    def _configure(self, piece: Piece, state: _State | None, out: list[Track | Packet]) -> None:
        record = bytes(piece.body)
        known = state is not None and state.track.codec == piece.codec
        if known and state is not None and state.record == record:
            return
        extradata, size, length_size = record, (0, 0), 4
        if piece.codec in FAMILIES:
            read = read_configuration(piece.codec, record)
            extradata, length_size = read.parameters, read.length_size
            size = picture_size(piece.codec, read.first_sps)
        elif piece.codec in _FORMATS:
            found = _FORMATS[piece.codec](record)
            if found is None:
                raise Damaged
            size = found
        elif piece.codec == "vp9":
            extradata = b""
        elif piece.codec == "av1" and (len(record) < _AV1_RECORD or record[0] != 0x81):
            raise Damaged
        state = self._described(piece, state, extradata, size, out)
        if state is not None:
            state.record, state.length_size = record, length_size

    def _described(
        self,
        piece: Piece,
        state: _State | None,
        extradata: bytes,
        numbers: tuple[int, int],
        out: list[Track | Packet],
    ) -> _State | None:
        """The state with a new description, which goes out; None for a track too many."""
        if state is None and len(self._states) >= self._most:
            self._count("too_many_tracks")
            return None
        base = MILLISECONDS if state is None else state.track.time_base
        what = ("width", "height") if piece.kind == "video" else ("rate_hz", "channels")
        named: dict[str, Any] = dict(zip(what, numbers, strict=True))
        track = Track(f"{piece.kind}/{piece.number}", piece.codec, extradata, base, **named)
        if state is None:
            state = self._states[piece.kind, piece.number] = _State(track)
        elif state.track == track:
            return state
        state.track = track
        out.append(track)
        return state

    def _packet(self, piece: Piece, state: _State, time_ms: int) -> Packet | None:
        data: Any = piece.body.toreadonly()
        key = piece.key
        if piece.codec in FAMILIES:
            unit = to_start_codes(piece.codec, piece.body, state.length_size)
            if not unit.has_picture:
                self._count("no_picture")
                return None
            key = unit.has_key or (piece.key and not state.keys_seen)
            state.keys_seen |= unit.has_key
            data = self._whole(unit, state, key)
            if data is None:
                self._count("no_config")
                return None
        elif piece.codec == "av1" and key:
            if not has_sequence_header(data):
                data = state.track.extradata[_AV1_RECORD:] + bytes(data)
        elif piece.codec == "aac":
            data = without_adts(data)
            if len(data) != len(piece.body):
                self._count("adts")
        dts, pts = time_ms, time_ms + piece.offset_ms
        if state.track.time_base is FINE:
            fine = round(piece.nanoseconds * _FINE_PER_MS / 1e6)
            dts, pts = dts * _FINE_PER_MS + fine, pts * _FINE_PER_MS + fine
        return Packet(data, pts, dts, 0, state.track.time_base, key, state.track.name)

    @staticmethod
    def _whole(unit: AccessUnit, state: _State, key: bool) -> Any:
        """The picture, with parameter sets if it is a key; None when there never were any."""
        if unit.has_sps or not key:
            wanted = unit.has_sps or state.started or bool(state.track.extradata)
            return unit.data if wanted else None
        parameters = state.track.extradata
        return unit.with_parameters(parameters) if parameters else None
