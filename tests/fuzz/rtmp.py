"""What RTMP publishers send, from the first byte to the last."""

from __future__ import annotations

from contextlib import suppress
from functools import cache
from typing import Any

from streamgen.media.packet import Packet
from streamgen_edge.rtmp import amf0, amf3
from streamgen_edge.rtmp.aggregate import taken_apart
from streamgen_edge.rtmp.chunk_reader import Chunks
from streamgen_edge.rtmp.demux import Demuxer
from streamgen_edge.rtmp.handshake import SIZE, Handshake
from streamgen_edge.rtmp.limits import Limits, ProtocolError
from streamgen_edge.rtmp.messages import AGGREGATE, AUDIO, VIDEO, Message
from streamgen_edge.rtmp.nal import FAMILIES, read_configuration, to_start_codes
from streamgen_edge.rtmp.obu import has_sequence_header
from streamgen_edge.rtmp.session import State
from streamgen_edge.rtmp.sizes import picture_size
from streamgen_edge.rtmp.tags import Damaged
from tests.edge.rtmp import client
from tests.edge.rtmp.payloads import AV1C, HSPS, OPUS, SEQUENCE, enhanced, hvcc, units
from tests.edge.webrtc.studio import Rung
from tests.fuzz.target import Draws, Target, cut, sized

_CUTS = 16
_ANSWERS = 1 << 20
"""Bytes that we say to 64 KiB of a client at most."""
_COSTS = ("chunks are too small", "too many unfinished")
"""Errors that depend on how much comes at once."""


def handshake(data: bytes) -> None:
    one = Handshake(bytes)
    said = b"".join(one.feed(piece) for piece in cut(data[_CUTS:], data[:_CUTS]))
    assert len(said) in (0, 2 * SIZE + 1)
    assert one.done == (len(data) - _CUTS > 2 * SIZE)


def chunks(data: bytes) -> None:
    body, places = data[_CUTS:], data[:_CUTS]
    whole, first = _messages([body])
    pieces, second = _messages(cut(body, places))
    if not first and not second:
        assert whole == pieces
    assert first.startswith(_COSTS) or second.startswith(_COSTS) or first == second


def _messages(pieces: list[bytes]) -> tuple[list[Message], str]:
    reader = Chunks(Limits(), proven=True)
    found: list[Message] = []
    try:
        for piece in pieces:
            found += reader.feed(piece)
    except ProtocolError as error:
        return found, str(error)
    return found, ""


def amf(data: bytes) -> None:
    values = (amf0 if data[:1] < b"\x80" else amf3).decode(data[1:])
    assert len(values) <= len(data)
    with suppress(TypeError):  # AMF0 has no byte arrays
        assert len(amf0.decode(amf0.encode(values[:1]))) == len(values[:1])


def session(data: bytes) -> None:
    one = client.new_session()
    demuxer = Demuxer(most_tracks=8, count=lambda _: None)
    said = 0
    for piece in cut(data[_CUTS:], data[:_CUTS]):
        events, answer = one.feed(piece)
        said += len(answer)
        for event in events:
            if isinstance(event, Message):
                demuxer.feed(event)
        if one.state is State.PENDING:
            one.accept()
    one.reconnect("rtmp://127.0.0.1/live")
    one.end("the end")
    assert said < _ANSWERS


def tags(data: bytes) -> None:
    draws = Draws(data)
    demuxer = Demuxer(most_tracks=4, count=lambda _: None)
    names, described = set(), set()
    while draws:
        kind, at = (AUDIO, VIDEO)[draws.number(1) & 1], draws.number(4)
        for found in demuxer.feed(Message(kind, 1, at, bytearray(draws.sized()))):
            if isinstance(found, Packet):
                assert found.track in described and len(found.data) > 0
                names.add(found.track)
            else:
                described.add(found.name)
    assert len(names) <= 4


def nal(data: bytes) -> None:
    """Records and access units of H.264 and HEVC, and OBUs."""
    codec = tuple(FAMILIES)[data[0] & 1] if data else "h264"
    with suppress(Damaged):
        read = read_configuration(codec, data[1:])
        assert 1 <= read.length_size <= 4
        width, height = picture_size(codec, read.first_sps)
        assert 0 <= width <= 1 << 16 and 0 <= height <= 1 << 16
    picture_size(codec, data[1:])
    with suppress(Damaged):
        has_sequence_header(memoryview(data)[1:])
    for size in range(1, 5):
        with suppress(Damaged):
            unit = to_start_codes(codec, memoryview(bytearray(data[1:])), size)
            assert len(unit.data) <= 4 * len(data)
            assert 0 <= unit.delimiter_end <= len(unit.data)
            assert unit.has_picture or not unit.has_key


def aggregate(data: bytes) -> None:
    stamp, body = int.from_bytes(data[:4], "big"), bytearray(data[4:])
    parts = list(taken_apart(Message(AGGREGATE, 1, stamp, body)))
    assert sum(len(part.body) for part in parts) <= len(body)
    assert all(0 <= part.timestamp < 1 << 32 for part in parts)


# What honest clients send.


@cache
def _pictures() -> list[bytes]:
    rung = Rung(90, 100_000)
    return [bytes(packet.data) for n in range(4) for packet in rung.encode(n, n == 0)]


def _bodies() -> list[tuple[int, bytes]]:
    shown = [enhanced(1, b"avc1", bytes(3) + picture) for picture in _pictures()]
    return [
        (1, client.CONFIG),
        (1, client.IDR),
        (0, client.AAC_CONFIG),
        (0, client.AAC_FRAME),
        (0, b"\x90Opus" + OPUS),
        (0, b"\x91Opus" + b"\xfc\xff\xfe"),
        *((1, one) for one in shown),
        (1, enhanced(0, b"av01", AV1C)),
        (1, enhanced(1, b"av01", SEQUENCE + b"\x32\x02ab")),
        (1, enhanced(0, b"hvc1", hvcc())),
        (1, enhanced(3, b"hvc1", units(b"\x26\x01abcd"))),
        (1, b"\x96\x20avc1\x01" + b"\0\0\5" + bytes(5) + b"\2\0\0\5" + bytes(5)),
        (1, b"\x97\x02\0\0\1\1" + b"avc1" + bytes(8)),
    ]


def _conversation() -> bytes:
    said = [client.opening(), client.metadata({"width": 320.0, "encoder": "test"})]
    for at, (video, body) in enumerate(_bodies()):
        said.append((client.video if video else client.audio)(body, 40 * at))
    return b"".join(said) + client.command("FCUnpublish", 6, None, "cam")


def _whole(*data: bytes) -> list[bytes]:
    """After the lengths of the pieces it comes in."""
    return [b"\xff\x01\x80" + bytes(_CUTS - 3) + one for one in data]


def _tags() -> list[bytes]:
    each = [bytes([kind]) + bytes(4) + sized(body) for kind, body in _bodies()]
    return [b"".join(each), *each]


def _values() -> list[bytes]:
    value: list[Any] = ["connect", 1.0, {"app": "live", "list": [1.5, None, True]}, "é" * 40]
    # A typed object and references, as Flash had them.
    old = b"\x10\0\1A\0\1b\x07\0\0\0\0\x09" + b"\x0a\0\0\0\1\0" + bytes(8) + b"\x0b" + bytes(10)
    new = b"\x0a\x0b\x03A\x03b\x04\x05\x01\x09\x03\x01\x0a\x00\x0d\x03\0\0\0\0\1"
    return [b"\0" + amf0.encode(value), b"\xff" + amf3.encode(value), b"\0" + old, b"\xff" + new]


def _parts() -> list[bytes]:
    head = b"\x08\0\0\4" + bytes(7) + client.AAC_FRAME[:4] + bytes(4)
    return [bytes(4) + head * 3]


TARGETS = [
    Target("handshake", handshake, (ProtocolError,), lambda: _whole(client.HANDSHAKE)),
    Target("chunks", chunks, seeds=lambda: _whole(_conversation()[2 * SIZE + 1 :])),
    Target("amf", amf, (ProtocolError,), _values),
    Target("session", session, (ProtocolError,), lambda: _whole(_conversation())),
    Target("tags", tags, (ProtocolError,), _tags),
    Target("nal", nal, seeds=lambda: [b"\0" + client.CONFIG[5:], b"\1" + hvcc(), b"\1" + HSPS]),
    Target("aggregate", aggregate, (ProtocolError,), _parts),
]
