"""`Segments`: one fragmented MP4 stream, cut into `init.mp4` and numbered media segments.

libavformat writes the stream here, box by box, as to a file. It begins a fragment at each key
frame; a segment begins with the first fragment at or after each multiple of the segment length.
Key frames have identical times on all rungs, so the cuts have too. Where each segment begins is
read from the fragments themselves, so a playlist says what the files hold.
"""

from __future__ import annotations

import struct
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO

from streamgen.deliver.boxes import payload
from streamgen.deliver.playlist import Segment

_FIELDS = (0x100, 0x200, 0x400)
"""Flags of the sample fields of a `trun` box that stand before the composition offset."""
_ROUNDING_S = Fraction(1, 1000)
"""A key frame may stand this much before the multiple it was made for: containers round times."""


class Segments:
    """What libavformat writes to. Errors of the file system come out of `write` at once."""

    def __init__(self, folder: Path, *, every: Fraction) -> None:
        """Write into `folder`, which exists; `every` is the segment length in seconds."""
        self.folder = folder
        self.every = every
        self.starts: list[Fraction] = []
        """Presentation time of each segment's first sample, in seconds."""
        self._next_cut = Fraction(0)
        self._header = bytearray()
        self._left = 0
        self._kind = b""
        self._kept = bytearray()
        self._init = bytearray()
        self._file: BinaryIO | None = None
        self._stopped = False

    def write(self, data: bytes) -> int:
        """Take the next bytes of the stream. Raises `OSError`."""
        rest = memoryview(data)
        while rest and not self._stopped:
            if self._left == 0:
                missing = 8 - len(self._header)
                self._header += rest[:missing]
                rest = rest[missing:]
                if len(self._header) == 8:
                    self._begin_box()
            else:
                part, rest = rest[: self._left], rest[self._left :]
                self._left -= len(part)
                self._put(part)
        return len(data)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def stop(self) -> None:
        """Write nothing from now on."""
        self._stopped = True
        self.close()

    def table(self, end: Fraction) -> tuple[Segment, ...]:
        """All segments, once closed, of a stream presented from zero to `end` seconds."""
        edges = [Fraction(0), *self.starts[1:], end]
        return tuple(
            Segment(name, float(edges[i + 1] - edges[i]), (self.folder / name).stat().st_size)
            for i, name in enumerate(map(_name, range(1, len(self.starts) + 1)))
        )

    def _begin_box(self) -> None:
        size, self._kind = struct.unpack(">I4s", self._header)
        self._left = size - 8
        self._kept = bytearray(self._header)
        self._header.clear()
        if self._kind == b"mdat" and self._file is not None:
            self._file.write(self._kept)

    def _put(self, part: memoryview) -> None:
        if self._kind == b"mdat" and self._file is not None:
            self._file.write(part)
            return
        self._kept += part
        if self._left:
            return
        if self._kind in {b"ftyp", b"moov"}:
            self._init += self._kept
            if self._kind == b"moov":
                (self.folder / "init.mp4").write_bytes(self._init)
        elif self._kind == b"moof":
            self._begin_fragment(bytes(self._kept))

    def _begin_fragment(self, moof: bytes) -> None:
        start = _start_of(bytes(self._init), moof)
        if self._file is None or start + _ROUNDING_S >= self._next_cut:
            self.close()
            self.starts.append(start)
            self._next_cut = (
                (max(start, Fraction(0)) + _ROUNDING_S) // self.every + 1
            ) * self.every
            self._file = (self.folder / _name(len(self.starts))).open("wb")
        self._file.write(moof)


def _name(number: int) -> str:
    return f"seg_{number:05d}.m4s"


def _start_of(init: bytes, moof: bytes) -> Fraction:
    """Presentation time in seconds of a fragment's first sample, as a player computes it: decode
    time, plus composition offset, minus what the edit list skips."""
    mdhd = payload(init, "moov", "trak", "mdia", "mdhd")
    scale = int.from_bytes(mdhd[20:24] if mdhd[0] else mdhd[12:16], "big")
    tfdt = payload(moof, "moof", "traf", "tfdt")
    at = int.from_bytes(tfdt[4:12] if tfdt[0] else tfdt[4:8], "big")
    trun = payload(moof, "moof", "traf", "trun")
    flags = int.from_bytes(trun[1:4], "big")
    if flags & 0x800:
        before = 8 + 4 * sum(bool(flags & flag) for flag in (0x1, 0x4, *_FIELDS))
        at += int.from_bytes(trun[before : before + 4], "big", signed=trun[0] > 0)
    return Fraction(at - _skipped(init), scale)


def _skipped(init: bytes) -> int:
    """Media time of the only edit; 0 without an edit list."""
    edits = payload(init, "moov", "trak", "edts", "elst")
    if not edits:
        return 0
    return int.from_bytes(edits[16:24] if edits[0] else edits[12:16], "big", signed=True)
