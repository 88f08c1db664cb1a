"""CMAF boxes of a live track (ISO/IEC 23000-19): the header once, then one fragment per part.

Written by hand: the same packets give the same bytes in every process, which libavformat's
muxer, with its own sequence numbers and start, does not promise.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

from streamgen.deliver.boxes import payload
from streamgen.deliver.h264 import Parameters

_MATRIX = struct.pack(">9I", 0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000)
_SYNC, _OTHER = 0x02000000, 0x01010000
"""Sample flags: depends on no other sample; depends on others and is no sync sample."""
_UNDETERMINED = b"\x55\xc4"
"""Language `und`, packed in five bits a letter."""
_LENGTH_ROOM = struct.pack(">I4s12x", 20, b"free")
"""Stands in a joint header where `length` belongs, once it is known."""
_SEQUENCE_AT, _TRACK_AT, _TIME_AT, _NUMBER_AT = 20, 44, 64, 84
"""Places in every `fragment`: of `mfhd`, `tfhd`, `tfdt` and `trun`."""


@dataclass(slots=True)
class Sample:
    """One access unit on its way into a fragment. Times in units of the track's timescale."""

    time: int
    """Decode time on the output timeline; equals the presentation time without B-frames."""
    offset: int
    """Presentation minus decode time."""
    duration: int
    """As its packet says; 0 where unknown. Final once its part is closed."""
    data: bytes
    sync: bool


def video_header(parameters: Parameters, timescale: int) -> bytes:
    """`ftyp` and `moov` of a track of H.264 pictures."""
    shape = parameters.shape
    entry = struct.pack(
        ">6xH16xHHIIIH32sHh",
        *(1, parameters.width, parameters.height, 0x480000, 0x480000, 0, 1),
        *(b"", 0x18, -1),
    )
    extra = _box(b"avcC", parameters.record())
    if shape != 1:
        extra += _box(b"pasp", struct.pack(">II", shape.numerator, shape.denominator))
    return _header(
        timescale,
        handler=b"vide",
        media=_full(b"vmhd", 0, 1, bytes(8)),
        entry=_box(b"avc1", entry, extra),
        display=parameters.display,
        volume=0,
    )


def audio_header(config: bytes, channels: int, rate_hz: int) -> bytes:
    """`ftyp` and `moov` of a track of AAC sound; `config` is its AudioSpecificConfig."""
    entry = struct.pack(">6xH8xHHIHH", 1, channels, 16, 0, rate_hz if rate_hz < 65536 else 0, 0)
    decoder = struct.pack(">BBBHII", 0x40, 0x15, 0, 0, 0, 0) + _descriptor(5, config)
    stream = b"\x00\x00\x00" + _descriptor(4, decoder) + _descriptor(6, b"\x02")
    return _header(
        rate_hz,
        handler=b"soun",
        media=_full(b"smhd", 0, 0, bytes(4)),
        entry=_box(b"mp4a", entry, _full(b"esds", 0, 0, _descriptor(3, stream))),
        display=(0, 0),
        volume=0x100,
    )


def fragment(sequence: int, samples: Sequence[Sample], *, video: bool) -> bytes:
    """`moof` and `mdat` of consecutive samples (ISO/IEC 14496-12, 8.8)."""
    offsets = any(sample.offset for sample in samples)
    flags = 0x000301 | (0x400 if video else 0) | (0x800 if offsets else 0)
    rows = bytearray()
    for sample in samples:
        rows += struct.pack(">II", sample.duration, len(sample.data))
        if video:
            rows += struct.pack(">I", _SYNC if sample.sync else _OTHER)
        if offsets:
            rows += struct.pack(">i", sample.offset)
    track = _full(b"tfhd", 0, 0x020020, struct.pack(">II", 1, _OTHER if video else _SYNC))
    track += _full(b"tfdt", 1, 0, struct.pack(">Q", samples[0].time))
    head = _full(b"mfhd", 0, 0, struct.pack(">I", sequence & 0xFFFFFFFF))
    # Sizes: moof and traf headers, trun header with count and data offset, then the mdat header.
    size = 8 + len(head) + 8 + len(track) + 20 + len(rows)
    run = _full(b"trun", 1, flags, struct.pack(">II", len(samples), size + 8), bytes(rows))
    data = [sample.data for sample in samples]
    mdat = struct.pack(">I4s", 8 + sum(map(len, data)), b"mdat")
    return b"".join([_box(b"moof", head, _box(b"traf", track, run)), mdat, *data])


def joint_header(headers: Sequence[bytes]) -> tuple[bytes, int]:
    """`ftyp` and `moov` of all tracks, numbered from 1, whose own headers these are; and where
    `length` is to be written over it once the last fragment is there.
    """
    tracks, extends = [], []
    for number, header in enumerate(headers, start=1):
        track = bytearray(payload(header, "moov", "trak"))
        struct.pack_into(">I", track, 20, number)  # tkhd: track_ID
        tracks.append(_box(b"trak", bytes(track)))
        extends.append(_full(b"trex", 0, 0, struct.pack(">5I", number, 1, 0, 0, 0)))
    movie = payload(headers[0], "moov", "mvhd")[:-4] + struct.pack(">I", len(headers) + 1)
    moov = _box(
        b"moov",
        _box(b"mvhd", movie),
        *tracks,
        _box(b"mvex", _LENGTH_ROOM, *extends),
    )
    file = _box(b"ftyp", payload(headers[0], "ftyp")) + moov
    return file, file.rindex(_LENGTH_ROOM)


def length(ticks: int) -> bytes:
    """The box that says how long all fragments are, in the timescale of the first track."""
    return _full(b"mehd", 1, 0, struct.pack(">Q", ticks))


def renumbered(fragment: bytes, sequence: int, track: int) -> bytes:
    """A `fragment` as one of a file with several tracks."""
    out = bytearray(fragment)
    struct.pack_into(">I", out, _SEQUENCE_AT, sequence & 0xFFFFFFFF)
    struct.pack_into(">I", out, _TRACK_AT, track)
    return bytes(out)


def decode_time(fragment: bytes) -> int:
    """Of the first sample of a `fragment`, in the track's timescale."""
    return int.from_bytes(fragment[_TIME_AT : _TIME_AT + 8], "big")


def sample_count(fragment: bytes) -> int:
    """How many pictures, or frames of sound, a `fragment` holds."""
    return int.from_bytes(fragment[_NUMBER_AT : _NUMBER_AT + 4], "big")


def _header(
    timescale: int,
    *,
    handler: bytes,
    media: bytes,
    entry: bytes,
    display: tuple[int, int],
    volume: int,
) -> bytes:
    tables = _full(b"stsd", 0, 0, struct.pack(">I", 1), entry)
    for kind in (b"stts", b"stsc", b"stco"):
        tables += _full(kind, 0, 0, bytes(4))
    tables += _full(b"stsz", 0, 0, bytes(8))
    source = _box(b"dinf", _full(b"dref", 0, 0, struct.pack(">I", 1), _full(b"url ", 0, 1)))
    minf = _box(b"minf", media, source, _box(b"stbl", tables))
    mdhd = _full(b"mdhd", 0, 0, struct.pack(">4I2s2x", 0, 0, timescale, 0, _UNDETERMINED))
    hdlr = _full(b"hdlr", 0, 0, struct.pack(">4x4s12x", handler), b"streamgen\x00")
    width, height = (side << 16 for side in display)
    tkhd = struct.pack(">5I8x4H", 0, 0, 1, 0, 0, 0, 0, volume, 0)
    tkhd += _MATRIX + struct.pack(">II", width, height)
    mvhd = struct.pack(">5IH10x", 0, 0, timescale, 0, 0x10000, 0x100)
    mvhd += _MATRIX + bytes(24) + struct.pack(">I", 2)
    trex = _full(b"trex", 0, 0, struct.pack(">5I", 1, 1, 0, 0, 0))
    moov = _box(
        b"moov",
        _full(b"mvhd", 0, 0, mvhd),
        _box(b"trak", _full(b"tkhd", 0, 3, tkhd), _box(b"mdia", mdhd, hdlr, minf)),
        _box(b"mvex", trex),
    )
    brands = b"iso6" + struct.pack(">I", 1) + b"iso6cmfcmp41"
    return _box(b"ftyp", brands) + moov


def _box(kind: bytes, *parts: bytes) -> bytes:
    body = b"".join(parts)
    return struct.pack(">I4s", 8 + len(body), kind) + body


def _full(kind: bytes, version: int, flags: int, *parts: bytes) -> bytes:
    return _box(kind, struct.pack(">I", version << 24 | flags), *parts)


def _descriptor(tag: int, body: bytes) -> bytes:
    """A descriptor of MPEG-4 systems (ISO/IEC 14496-1, 8.3.3), its length in four bytes."""
    length = len(body)
    size = bytes([0x80 | length >> 21, 0x80 | length >> 14 & 127, 0x80 | length >> 7 & 127])
    return bytes([tag]) + size + bytes([length & 127]) + body
