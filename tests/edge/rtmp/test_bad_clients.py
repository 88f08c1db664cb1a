"""Each way to speak RTMP badly: closed with its reason, or taken; a good publisher does not notice.

Storms and acknowledgements are in `test_storms`, TLS in `test_securing`, silence, slowness and
floods in `test_connection`.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

import pytest

from streamgen_edge.rtmp import Limits
from streamgen_edge.rtmp.amf0 import encode
from streamgen_edge.rtmp.chunk_writer import chunk_size, chunked
from streamgen_edge.rtmp.limits import MIB
from streamgen_edge.rtmp.messages import (
    ABORT,
    AGGREGATE,
    COMMAND,
    COMMAND_AMF3,
    DATA,
    SHARED_OBJECT,
)

from .beside import house
from .client import (
    CONFIG,
    HANDSHAKE,
    IDR,
    NEXT,
    audio,
    command,
    connect,
    opening,
    publish,
    video,
)
from .peer import peer, run, until
from .test_aggregate import tag
from .test_chunk_reader import header, message_header

LARGE = b"\x27\x01\0\0\0" + (1001).to_bytes(4, "big") + b"\x41" + bytes(1000)
NAME = "a stream's name is 1 to 64 letters"
CREATED = HANDSHAKE + connect() + command("createStream", 4, None)


@dataclass(frozen=True)
class Case:
    """What a client says, from its first byte on or, `inside`, after it was let in."""

    says: Sequence[bytes]
    reason: str = ""
    """Why it is closed; empty: it is not, and the pictures arrive."""
    inside: bool = True
    pictures: int = 1


def first(*says: bytes, reason: str = "") -> Case:
    return Case(says, reason, inside=False)


def named(name: str) -> Case:
    return first(opening(name), reason=NAME)


def told(body: bytes, kind: int = DATA, *, reason: str = "AMF") -> Case:
    return Case([chunked(3, kind, 1, body, 128), video(NEXT, 40)], reason)


HANDSHAKES = {
    "version 0": first(b"\0" + HANDSHAKE[1:], reason="not RTMP: the first byte is 0"),
    "version 6": first(b"\6" + HANDSHAKE[1:], reason="RTMPE is not spoken here"),
    "version 255": first(b"\xff" + HANDSHAKE[1:], reason="not RTMP: the first byte is 255"),
    "half, then silence": first(HANDSHAKE[:900], reason="no handshake in time"),
    "whole, then silence": first(HANDSHAKE, reason="no publish in time"),
    "another echo": first(HANDSHAKE[:1537] + b"\xaa" * 1536 + opening()[3073:]),
}
ORDER = {
    "media before connect": first(HANDSHAKE, video(IDR), reason="media before publishing"),
    "media before publish": first(CREATED, video(IDR), reason="media before publishing"),
    "publish before connect": first(HANDSHAKE, publish(), reason="a command before connect"),
    "connect twice": first(HANDSHAKE, connect(), connect(), reason="connect, twice"),
    "publish twice": Case([publish("other")], "publish, twice"),
    "publish on a foreign stream": first(CREATED, publish("x", 77), reason="was not created"),
    "media on a foreign stream": Case([video(NEXT, 40, stream=9)], "not published"),
    "deleteStream in a picture": Case(
        [video(LARGE)[:140], command("deleteStream", 7, None, 1), video(LARGE)[140:]],
        "the publisher ended the stream",
    ),
}
NAMES = {
    "empty": named(""),
    "4 KiB": named("x" * 4096),
    "a way up": named("../../etc/passwd"),
    "NUL": named("cam\0.png"),
    "UTF-16": named("\ufeffc\0a\0m\0"),
    "percent": named("cam%2f..%2fx"),
    "a new line": named("cam\nrtmp: 192.0.2.1 publishes other"),
    "a command": named("$(reboot)"),
}
CHUNKS = {
    "size 0": Case([chunk_size(0)], "chunk size 0"),
    "size 1": Case([chunk_size(1), video(NEXT, 40, size=1)]),
    "size 2^31-1": Case([chunk_size(2**31 - 1)], "chunk size 2147483647"),
    "size changed in a picture": Case(
        [
            video(LARGE)[:140],
            chunk_size(4096),
            header(3, 6) + LARGE[128:],
        ]
    ),
    **{
        f"stream id {number}": Case([header(0, number) + message_header(40, len(NEXT)) + NEXT])
        for number in (2, 63, 64, 319, 320, 65_599)
    },
    "60,000 stream ids": Case(
        [header(0, n) + message_header(0, 1000) + bytes(128) for n in range(8, 60_000, 9)],
        "more than 64 chunk streams",
    ),
    "type 1 first": Case(
        [header(1, 9) + message_header(40, len(NEXT))[:7] + NEXT], "not published"
    ),
    "type 2 first": Case([header(2, 9) + bytes(30)], "begins without a message header"),
    "type 3 first": Case([header(3, 9) + bytes(30)], "begins without a message header"),
    "an empty message": Case([video(b"", 30), audio(b"", 30), video(NEXT, 40)]),
    "length 2^24-1": Case([header(0, 6) + message_header(0, 0xFFFFFF)], "has 16777215 bytes"),
    "unfinished on many streams": Case(
        [chunk_size(MIB)]
        + [header(0, n) + message_header(0, 2 * MIB) + bytes(MIB) for n in range(8, 40)],
        "too many unfinished messages",
    ),
    "begun inside another": Case(
        [video(LARGE)[:140], video(NEXT, 40)], "a message begins inside another"
    ),
    "sound inside a picture": Case([video(LARGE)[:140], audio(b"\xaf\x01ab"), video(LARGE)[140:]]),
    "an abort": Case(
        [video(LARGE)[:140], chunked(2, ABORT, 0, (6).to_bytes(4, "big"), 128), video(NEXT, 40)]
    ),
    "an extended timestamp, repeated": Case([video(LARGE, 0x1000000)]),
    "an extended timestamp, left out": Case(
        [video(LARGE, 0x1000000).replace(b"\xc6\x01\0\0\0", b"\xc6")]
    ),
}
CLOCKS = {
    name: Case([video(NEXT, at) for at in stamps], pictures=len(stamps))
    for name, stamps in {
        "backwards": (90_000, 40),
        "a jump of 2^31": (40, 40 + 2**31),
        "a wrap at 24 bits": (0xFFFFF0, 0x10),
        "a wrap at 32 bits": (0xFFFFFFF0, 0x10),
    }.items()
}
VALUES = {
    "depth": told(b"\x03\0\1a" * 70_000),
    "the count of an array": told(
        encode(["onMetaData"]) + b"\x08\xff\xff\xff\xff\0\1a\5\0\0\x09", reason=""
    ),
    "the length of a list": told(b"\x0a\xff\xff\xff\xff\5"),
    "the length of a text": told(b"\x02\xff\xffab"),
    "a cycle": told(b"\x03\0\1a\x07\0\0\0\0\x09"),
    "an unknown type": told(b"\x31"),
    "an unknown type in a command": told(b"\x31", COMMAND),
    "AMF3 inside": told(b"\x11\x0a\x0b\x01\x03a\x04\x07\x01", reason=""),
    "an AMF3 command": told(b"\0" + encode(["_checkbw", 7, None]), COMMAND_AMF3, reason=""),
    "NaN as its number": told(encode(["_checkbw", float("nan"), None]), COMMAND, reason=""),
    "infinity as its number": told(
        encode(["createStream", float("inf"), None]), COMMAND, reason=""
    ),
    "a megabyte of metadata": told(encode(["onMetaData", {"a": "x" * MIB}]), reason="has 1048"),
    "an aggregate that lies": told(tag(9, 0, NEXT)[:20], AGGREGATE, reason="aggregate"),
    "a shared object": told(b"\1\2\3", SHARED_OBJECT, reason=""),
}
CASES = {"handshake": HANDSHAKES, "order": ORDER, "name": NAMES, "chunk": CHUNKS}
CASES |= {"clock": CLOCKS, "value": VALUES}


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(case, id=f"{group}: {name}")
        for group, cases in CASES.items()
        for name, case in cases.items()
    ],
)
def test_what_is_wrong_is_told_and_nobody_else_notices(
    case: Case, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "streamgen_edge")

    async def test() -> None:
        limits = Limits(handshake_s=0.5, publish_s=1.0)
        async with house(limits) as one, peer(one.server) as bad:
            if case.inside:
                await bad.publishes("cam")
                await until(lambda: (b := one.basket("cam")) is not None and b.packets)
            with suppress(ConnectionError):
                await bad.says(*case.says)
            if not case.inside and not case.reason:
                await bad.hears(b"is now published")
                await bad.says(video(CONFIG), video(IDR), video(NEXT, 40))
            if case.reason:
                await until(lambda: case.reason in caplog.text)
                heard = await bad.hears_all()
                assert not case.inside or case.reason.encode() in heard or b"Unpublish" in heard
            else:
                await until(
                    lambda: (b := one.basket("cam")) is not None and len(b.packets) > case.pictures
                )
            await one.plays_on()

    run(test)
    assert all("\n" not in line for line in caplog.messages)
