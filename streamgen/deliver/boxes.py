"""Boxes of MP4 files (ISO/IEC 14496-12, 4.2), as far as we look into them ourselves."""

from __future__ import annotations

import io
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO


@dataclass(frozen=True, slots=True)
class Box:
    """Place of one box in its file, in bytes."""

    kind: str
    start: int
    """First byte behind size and type."""
    end: int


def boxes(file: BinaryIO) -> Iterator[Box]:
    """Boxes in file order. The last may end behind the file: then the file was cut off."""
    length = file.seek(0, os.SEEK_END)
    at = 0
    while at + 8 <= length:
        file.seek(at)
        head = file.read(16)
        size, kind = struct.unpack_from(">I4s", head)
        header = 8
        if size == 1 and len(head) == 16:
            size, header = int.from_bytes(head[8:], "big"), 16
        elif size == 0:  # to the end of the file
            size = length - at
        if size < header:
            return
        yield Box(kind.decode("latin-1"), at + header, at + size)
        at += size


def payload(data: bytes, *path: str) -> bytes:
    """What the first box at `path` holds: `payload(data, "moov", "trak")`; empty without one."""
    for box in boxes(io.BytesIO(data)):
        if box.kind == path[0]:
            inner = data[box.start : box.end]
            return inner if len(path) == 1 else payload(inner, *path[1:])
    return b""
