"""The bytes of a client, written by hand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from streamgen_edge.rtmp import amf0
from streamgen_edge.rtmp.chunk_reader import Chunks
from streamgen_edge.rtmp.chunk_writer import OUR_CHUNK_SIZE, chunked
from streamgen_edge.rtmp.limits import Limits
from streamgen_edge.rtmp.messages import AUDIO, COMMAND, DATA, VIDEO, Message
from streamgen_edge.rtmp.session import Event, Session

HANDSHAKE = b"\x03" + bytes(1536) + bytes(1536)
S0_S1_S2 = 1 + 2 * 1536
URL = "rtmp://127.0.0.1/live"
SPS = bytes.fromhex("6742c00dda0507e840000003004000000c83c50aa8")
PPS = bytes.fromhex("68ce0fc8")
CONFIG = (
    bytes.fromhex("17 00 000000 01")
    + SPS[1:4]
    + b"\xff\xe1"
    + len(SPS).to_bytes(2, "big")
    + SPS
    + b"\x01"
    + len(PPS).to_bytes(2, "big")
    + PPS
)
"""Sequence header of an H.264 picture of 320x240: tag header, avcC with one SPS and one PPS."""
IDR = bytes.fromhex("17 01 000000 00000005 6588840000")
NEXT = bytes.fromhex("27 01 000000 00000005 419a000001")
AAC_CONFIG = bytes.fromhex("af 00 1190")
AAC_FRAME = bytes.fromhex("af 01 211004")


def command(*values: Any, stream: int = 0, size: int = 128) -> bytes:
    return chunked(3, COMMAND, stream, amf0.encode(values), size)


def connect(app: str = "live", url: str = URL, **more: Any) -> bytes:
    return command("connect", 1, {"app": app, "tcUrl": url, "flashVer": "test/1", **more})


def publish(name: str = "cam", stream: int = 1) -> bytes:
    return command("publish", 5, None, name, "live", stream=stream)


def opening(name: str = "cam", app: str = "live", url: str = URL) -> bytes:
    """All a publisher says before it is let in."""
    return b"".join(
        (
            HANDSHAKE,
            connect(app, url),
            command("releaseStream", 2, None, name),
            command("FCPublish", 3, None, name),
            command("createStream", 4, None),
            publish(name),
        )
    )


def video(body: bytes, timestamp: int = 0, *, stream: int = 1, size: int = 128) -> bytes:
    return chunked(6, VIDEO, stream, body, size, timestamp)


def audio(body: bytes, timestamp: int = 0, *, stream: int = 1, size: int = 128) -> bytes:
    return chunked(4, AUDIO, stream, body, size, timestamp)


def metadata(values: dict[str, Any]) -> bytes:
    body = amf0.encode(["@setDataFrame", "onMetaData", values])
    return chunked(5, DATA, 1, body, 128)


def new_session(**limits: Any) -> Session:
    return Session(Limits(**limits), bytes, address="192.0.2.1")


def publishing(**limits: Any) -> Session:
    """A session that was let in."""
    session = new_session(**limits)
    session.feed(opening())
    session.accept()
    return session


def fed(session: Session, *parts: bytes) -> list[Event]:
    return [event for part in parts for event in session.feed(part)[0]]


def messages(answer: bytes) -> list[Message]:
    """What the server said, by the same reader with its own chunk size."""
    reader = Chunks(Limits(), proven=True)
    found: list[Message] = []
    for at in range(len(answer)):
        found += reader.feed(answer[at : at + 1])
    return found


def said(answer: bytes, size: int = OUR_CHUNK_SIZE) -> list[list[Any]]:
    """The commands in an answer."""
    reader = Chunks(Limits(), proven=True)
    reader.size = size
    return [amf0.decode(m.body) for m in reader.feed(answer) if m.kind == COMMAND]


def codes(commands: Sequence[Sequence[Any]]) -> list[str]:
    """The `code` of each status."""
    infos = [c[-1] for c in commands if isinstance(c[-1], dict)]
    return [info["code"] for info in infos if "code" in info]
