"""What AMF0 and AMF3 share: a reader that trusts nothing, and values that Python lacks."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from streamgen_edge.rtmp.limits import KIB, MIB, ProtocolError

DEPTH = 16
"""Objects in objects."""
VALUES = 8192
"""Values of one message, all together."""
KEY = KIB
"""Bytes of a property's name."""
TEXT = 64 * KIB
"""Bytes of one string."""
TOTAL = MIB
"""Bytes of one message."""
_DOUBLE = struct.Struct(">d")


class Undefined:
    """ECMAScript's `undefined`; the one value is `UNDEFINED`."""

    def __repr__(self) -> str:
        return "UNDEFINED"


UNDEFINED = Undefined()


@dataclass(slots=True)
class Allowance:
    """How many values a client may still send: each costs as much as hundreds of bytes of media."""

    left: int


@dataclass(slots=True)
class Reader:
    """A place in an encoded message; reading past its end raises `ProtocolError`."""

    data: bytes | bytearray | memoryview
    at: int = 0
    values: int = 0
    """Values read so far."""
    allowance: Allowance | None = None
    """What they are taken from; None: each message for itself."""

    def __post_init__(self) -> None:
        if len(self.data) > TOTAL:
            raise ProtocolError("AMF: the message is too long")

    @property
    def left(self) -> int:
        return len(self.data) - self.at

    def bytes(self, number: int) -> bytes:
        """The next so many bytes."""
        if number > self.left:
            raise ProtocolError("AMF: a value ends behind its message")
        self.at += number
        return bytes(self.data[self.at - number : self.at])

    def number(self, width: int) -> int:
        """An unsigned big-endian integer."""
        return int.from_bytes(self.bytes(width), "big")

    def double(self) -> float:
        return float(_DOUBLE.unpack(self.bytes(8))[0])

    def text(self, length: int, most: int = TEXT) -> str:
        """UTF-8; wrong bytes are replaced, since encoders in the field send Latin-1."""
        if length > most:
            raise ProtocolError(f"AMF: a text of {length} bytes, {most} are allowed")
        return self.bytes(length).decode("utf-8", "replace")

    def enter(self, depth: int) -> None:
        """Count one more value at this depth."""
        self.values += 1
        if depth > DEPTH:
            raise ProtocolError(f"AMF: more than {DEPTH} objects in each other")
        if self.values > VALUES:
            raise ProtocolError(f"AMF: more than {VALUES} values in a message")
        if self.allowance is not None:
            self.allowance.left -= 1
            if self.allowance.left < 0:
                raise ProtocolError("AMF: too many values at once")
