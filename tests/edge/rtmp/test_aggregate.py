from __future__ import annotations

import struct

import pytest

from streamgen_edge.rtmp import amf0
from streamgen_edge.rtmp.chunk_writer import chunked
from streamgen_edge.rtmp.limits import ProtocolError
from streamgen_edge.rtmp.messages import (
    AGGREGATE,
    AUDIO,
    VIDEO,
    Message,
)
from streamgen_edge.rtmp.metadata import Metadata

from .client import (
    IDR,
    fed,
    publishing,
)


def tag(kind: int, timestamp: int, body: bytes) -> bytes:
    head = bytes([kind]) + len(body).to_bytes(3, "big") + (timestamp & 0xFFFFFF).to_bytes(3, "big")
    return head + bytes([timestamp >> 24]) + bytes(3) + body + struct.pack(">I", 11 + len(body))


def test_an_aggregate_is_its_parts_shifted_to_its_own_time() -> None:
    body = tag(VIDEO, 0x1000010, IDR) + tag(AUDIO, 0x1000020, b"\xaf\x01ab")
    body += tag(18, 0x1000030, amf0.encode(["onMetaData", {"a": 1}])) + tag(AGGREGATE, 0, b"")
    one, two, three = fed(publishing(), chunked(6, AGGREGATE, 1, body, 128, 500))
    assert isinstance(one, Message) and isinstance(two, Message) and isinstance(three, Metadata)
    assert [(one.kind, one.timestamp), (two.kind, two.timestamp)] == [(VIDEO, 500), (AUDIO, 516)]


@pytest.mark.parametrize("cut", [3, 12, 20])
def test_an_aggregate_that_lies_ends_the_connection(cut: int) -> None:
    with pytest.raises(ProtocolError, match="aggregate"):
        fed(publishing(), chunked(6, AGGREGATE, 1, tag(VIDEO, 0, IDR + bytes(30))[:cut], 128))
