"""Names of codecs as playlists and browsers want them: RFC 6381 `codecs` strings.

Read from the decoder configuration of the track, in either of its forms: the MP4 record (avcC,
hvcC, av1C) or the bare parameter sets that encoders give (Annex B, OBU).
"""

from __future__ import annotations

from streamgen.errors import OutputError
from streamgen.media.bits import Bits
from streamgen.media.tracks import EncodedTrack

_PLAIN = {
    "mp3": "mp4a.40.34",
    "ac3": "ac-3",
    "eac3": "ec-3",
    "opus": "opus",
    "flac": "fLaC",
    "alac": "alac",
}
_START_CODE = b"\x00\x00\x01"


def codec_string(track: EncodedTrack) -> str:
    """The RFC 6381 name of what the track holds: `avc1.64001F`, `mp4a.40.2`.

    Raises `OutputError` for a codec that has none, or when the decoder configuration is missing.
    """
    extradata = bytes(track.template.codec_context.extradata or b"")
    codec = track.codec.lower()
    try:
        match codec:
            case "h264" | "libx264" | "x264":
                return _avc(extradata)
            case "hevc" | "libx265" | "x265" | "h265":
                return _hevc(extradata)
            case "av1" | "libsvtav1" | "svt-av1" | "libdav1d":
                return _av1(extradata)
            case "aac":
                return _aac(extradata)
            case "libopus":
                return _PLAIN["opus"]
            case _ if codec in _PLAIN:
                return _PLAIN[codec]
            case _:
                raise OutputError(f"{track.name}: {codec} has no place in an HLS ladder")
    except (IndexError, StopIteration) as error:
        raise OutputError(
            f"{track.name}: {codec} came without its decoder configuration"
        ) from error


def _avc(extradata: bytes) -> str:
    """ISO/IEC 14496-15: profile, constraint flags and level, as in the first SPS."""
    sps = extradata[1:4] if extradata[0] == 1 else _nal(extradata, 0x1F, 0, 7)[1:4]
    return f"avc1.{sps[0]:02X}{sps[1]:02X}{sps[2]:02X}"


def _hevc(extradata: bytes) -> str:
    """ISO/IEC 14496-15 annex E: space and profile, flags, tier and level, constraints."""
    parsed = extradata[0] == 1
    record = extradata[1:13] if parsed else _unescaped(_nal(extradata, 0x7E, 1, 33))[3:15]
    space = ("", "A", "B", "C")[record[0] >> 6]
    tier = "H" if record[0] & 0x20 else "L"
    flags = int(f"{int.from_bytes(record[1:5], 'big'):032b}"[::-1], 2)
    constraints = "".join(f".{byte:X}" for byte in record[5:11].rstrip(b"\x00"))
    return f"hvc1.{space}{record[0] & 0x1F}.{flags:X}.{tier}{record[11]}{constraints}"


def _av1(extradata: bytes) -> str:
    """AV1-ISOBMFF section 5: profile, level and tier, bit depth."""
    if extradata[0] == 0x81:
        profile, level = extradata[1] >> 5, extradata[1] & 0x1F
        tier, deep, twelve = (extradata[2] >> shift & 1 for shift in (7, 6, 5))
    else:
        profile, level, tier, deep, twelve = _sequence_header(extradata)
    depth = 12 if twelve else 10 if deep else 8
    return f"av01.{profile}.{level:02d}{'H' if tier else 'M'}.{depth:02d}"


def _sequence_header(obu: bytes) -> tuple[int, int, int, int, int]:
    """Profile, level, tier, high and twelve bit depth of AV1 5.5.1, for headers without timing."""
    at = 1 + (obu[0] >> 2 & 1)
    if obu[0] & 2:  # has_size_field: leb128
        while obu[at] & 0x80:
            at += 1
        at += 1
    bits = Bits(obu[at:])
    profile, _still, reduced = bits.take(3), bits.take(1), bits.take(1)
    if reduced:
        return profile, bits.take(5), 0, 0, 0
    if bits.take(1):
        raise IndexError("timing info")
    delay_present = bits.take(1)
    points = bits.take(5) + 1
    level = tier = 0
    for point in range(points):
        bits.take(12)
        found = bits.take(5)
        found_tier = bits.take(1) if found > 7 else 0
        if delay_present and bits.take(1):
            bits.take(4)
        if point == 0:
            level, tier = found, found_tier
    _skip_to_depth(bits)
    deep = bits.take(1)
    return profile, level, tier, deep, bits.take(1) if profile == 2 and deep else 0


def _skip_to_depth(bits: Bits) -> None:
    """From the frame size to `high_bitdepth`: the tools, for a header without frame numbers."""
    width_bits, height_bits = bits.take(4) + 1, bits.take(4) + 1
    bits.take(width_bits)
    bits.take(height_bits)
    if bits.take(1):  # frame_id_numbers_present
        bits.take(7)
    bits.take(3)  # 128x128, filter intra, intra edge
    bits.take(4)  # interintra, masked, warped, dual filter
    order_hint = bits.take(1)
    if order_hint:
        bits.take(2)
    screen = 2 if bits.take(1) else bits.take(1)
    if screen and not bits.take(1):
        bits.take(1)
    if order_hint:
        bits.take(3)
    bits.take(3)  # superres, cdef, restoration


def _aac(extradata: bytes) -> str:
    """MPEG-4 audio object type, from the AudioSpecificConfig (ISO/IEC 14496-3 1.6)."""
    if not extradata:
        return "mp4a.40.2"
    kind = extradata[0] >> 3
    if kind == 31:
        kind = 32 + ((extradata[0] & 7) << 3 | extradata[1] >> 5)
    return f"mp4a.40.{kind}"


def _nal(data: bytes, mask: int, shift: int, kind: int) -> bytes:
    """First NAL unit of a type in an Annex B stream; StopIteration when there is none."""
    units = (unit for unit in data.split(_START_CODE) if unit)
    return next(unit for unit in units if (unit[0] & mask) >> shift == kind)


def _unescaped(unit: bytes) -> bytes:
    """Without emulation prevention bytes."""
    return unit.replace(b"\x00\x00\x03", b"\x00\x00")
