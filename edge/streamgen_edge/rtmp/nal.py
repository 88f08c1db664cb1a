"""H.264 and HEVC from the form of FLV and MP4 (lengths) to the form of decoders (start codes).

Records: ISO/IEC 14496-15 5.3.3.1 (avcC) and 8.3.3.1 (hvcC). Annex B of H.264 and HEVC.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass

from streamgen_edge.rtmp.tags import Damaged

_START = b"\x00\x00\x00\x01"
_START_CODE = re.compile(rb"\x00\x00\x01")
_WORD = struct.Struct(">I")
_START_WORD = 1


@dataclass(frozen=True, slots=True)
class Family:
    """How to read the first byte of a NAL unit."""

    shift: int
    mask: int
    pictures: range
    keys: range
    """Pictures that decoding can begin with: IDR, or any IRAP of HEVC."""
    sps: int
    delimiter: int
    parameters: frozenset[int]


FAMILIES = {
    "h264": Family(0, 0x1F, range(1, 6), range(5, 6), 7, 9, frozenset({7, 8, 13})),
    "hevc": Family(1, 0x3F, range(32), range(16, 24), 33, 35, frozenset({32, 33, 34})),
}


@dataclass(frozen=True, slots=True)
class Configuration:
    """A decoder configuration record, read."""

    parameters: bytes
    """Parameter sets with start codes; empty where they come in the stream."""
    first_sps: bytes
    length_size: int
    """Bytes of each NAL unit's length."""


def read_configuration(codec: str, record: bytes) -> Configuration:
    """avcC or hvcC. Raises `Damaged`."""
    try:
        return _read_avc(record) if codec == "h264" else _read_hevc(record)
    except IndexError as error:
        raise Damaged from error


def _read_avc(record: bytes) -> Configuration:
    if record[0] != 1:
        raise Damaged
    at = 5
    units: list[bytes] = []
    for mask in (0x1F, 0xFF):
        number = record[at] & mask
        at += 1
        for _ in range(number):
            unit, at = _unit(record, at)
            units.append(unit)
    return _configured(units, "h264", 1 + (record[4] & 3))


def _read_hevc(record: bytes) -> Configuration:
    # Some encoders of the time before the standard was final write version 0.
    if record[0] > 1:
        raise Damaged
    units: list[bytes] = []
    at = 23
    for _ in range(record[22]):
        number = record[at + 1] << 8 | record[at + 2]
        at += 3
        for _ in range(number):
            unit, at = _unit(record, at)
            units.append(unit)
    return _configured(units, "hevc", 1 + (record[21] & 3))


def _unit(record: bytes, at: int) -> tuple[bytes, int]:
    end = at + 2 + (record[at] << 8 | record[at + 1])
    if end > len(record):
        raise Damaged
    return record[at + 2 : end], end


def _configured(units: list[bytes], codec: str, length_size: int) -> Configuration:
    family = FAMILIES[codec]
    kinds = [(unit[0] >> family.shift & family.mask, unit) for unit in units if unit]
    # Encoders put their name and settings there too, as SEI.
    kept = [unit for kind, unit in kinds if kind in family.parameters]
    sps = (unit for kind, unit in kinds if kind == family.sps)
    parameters = b"".join(_START + unit for unit in kept)
    return Configuration(parameters, next(sps, b""), length_size)


@dataclass(frozen=True, slots=True)
class AccessUnit:
    """One picture with start codes, and what is in it."""

    data: memoryview
    """Read only. Lies in the tag's memory where that was possible."""
    has_picture: bool
    has_key: bool
    has_sps: bool
    delimiter_end: int
    """Where an access unit delimiter at the front ends, for parameter sets come behind it."""

    def with_parameters(self, parameters: bytes) -> bytes:
        """A copy with parameter sets in front of all but the delimiter (H.264 7.4.1.2.3)."""
        at = self.delimiter_end
        return b"".join((self.data[:at], parameters, self.data[at:]))


def to_start_codes(codec: str, body: memoryview, length_size: int) -> AccessUnit:
    """Lengths become start codes; four-byte ones in place. Raises `Damaged` for lying lengths.

    What has start codes already, against the rules, is taken as it is.
    """
    family = FAMILIES[codec]
    spans = _by_lengths(body, length_size)
    if spans is None:
        spans = _by_start_codes(body)
        if spans is None:
            raise Damaged
        data = body
    elif length_size == 4 and all(end > at for at, end in spans):
        for at, _ in spans:
            _WORD.pack_into(body, at - 4, _START_WORD)
        data = body
    else:
        data, spans = _copied(body, [span for span in spans if span[1] > span[0]])
    return _described(family, data, spans)


def _by_lengths(body: memoryview, size: int) -> list[tuple[int, int]] | None:
    """Where each unit lies; None where the lengths do not add up."""
    spans: list[tuple[int, int]] = []
    at, end = 0, len(body)
    while at < end:
        if at + size > end:
            return None
        if size == 4:
            length = _WORD.unpack_from(body, at)[0]
        else:
            length = int.from_bytes(body[at : at + size], "big")
        at += size
        if at + length > end:
            return None
        spans.append((at, at + length))
        at += length
    return spans


def _by_start_codes(body: memoryview) -> list[tuple[int, int]] | None:
    if bytes(body[:4]) != _START and bytes(body[:3]) != _START[1:]:
        return None
    begins = [match.end() for match in _START_CODE.finditer(body)]
    ends = [begin - 3 for begin in begins[1:]] + [len(body)]
    return [span for span in zip(begins, ends, strict=True) if span[1] > span[0]]


def _copied(
    body: memoryview, spans: list[tuple[int, int]]
) -> tuple[memoryview, list[tuple[int, int]]]:
    data = b"".join(_START + bytes(body[at:end]) for at, end in spans)
    moved: list[tuple[int, int]] = []
    place = 0
    for at, end in spans:
        moved.append((place + 4, place + 4 + end - at))
        place += 4 + end - at
    return memoryview(data), moved


def _described(family: Family, data: memoryview, spans: list[tuple[int, int]]) -> AccessUnit:
    kinds = [data[at] >> family.shift & family.mask for at, _ in spans]
    delimited = bool(kinds) and kinds[0] == family.delimiter
    return AccessUnit(
        data.toreadonly(),
        has_picture=any(kind in family.pictures for kind in kinds),
        has_key=any(kind in family.keys for kind in kinds),
        has_sps=family.sps in kinds,
        delimiter_end=spans[0][1] if delimited else 0,
    )
