"""AV1's open bitstream units (AV1 specification 5.3), as far as a key frame needs them."""

from __future__ import annotations

from streamgen_edge.rtmp.tags import Damaged

_SEQUENCE_HEADER, _TEMPORAL_DELIMITER, _PADDING, _METADATA = 1, 2, 15, 5


def has_sequence_header(data: memoryview) -> bool:
    """Whether one stands before the first frame. Raises `Damaged` for sizes that do not fit."""
    at = 0
    while at < len(data):
        head = data[at]
        kind = head >> 3 & 0xF
        if kind == _SEQUENCE_HEADER:
            return True
        if kind not in (_TEMPORAL_DELIMITER, _PADDING, _METADATA) or not head & 2:
            return False
        at = _behind(data, at + 1 + (head >> 2 & 1))
    return False


def _behind(data: memoryview, at: int) -> int:
    """Where the unit ends whose size (leb128, 4.10.5) stands at `at`."""
    size = 0
    for number in range(8):
        if at >= len(data):
            raise Damaged
        size |= (data[at] & 0x7F) << 7 * number
        at += 1
        if data[at - 1] < 0x80:
            break
    if at + size > len(data):
        raise Damaged
    return at + size
