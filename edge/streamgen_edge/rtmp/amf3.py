"""AMF3, which Flash-era clients may use for commands (AMF 3 specification, section 3).

Objects are dicts, arrays lists, or dicts where they have names; byte arrays bytes. References work
as in `amf0`.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from streamgen_edge.rtmp.amf import KEY, UNDEFINED, Allowance, Reader, Undefined
from streamgen_edge.rtmp.limits import ProtocolError

_INTEGERS = range(-(1 << 28), 1 << 28)
_VECTORS = {0x0D: (4, "i"), 0x0E: (4, "I"), 0x0F: (8, "d")}


@dataclass(slots=True)
class _Traits:
    """Names of an object's members, and whether more may follow."""

    members: list[str]
    dynamic: bool


@dataclass(slots=True)
class _Decoder:
    reader: Reader
    texts: list[str] = field(default_factory=list)
    objects: list[Any] = field(default_factory=list)
    traits: list[_Traits] = field(default_factory=list)

    def value(self, depth: int) -> Any:
        self.reader.enter(depth)
        kind = self.reader.number(1)
        match kind:
            case 0x00:
                return UNDEFINED
            case 0x01:
                return None
            case 0x02 | 0x03:
                return kind == 0x03
            case 0x04:
                number = self._u29()
                return number - (1 << 29) if number >= 1 << 28 else number
            case 0x05:
                return self.reader.double()
            case 0x06:
                return self._text()
            case 0x07 | 0x0B:
                return self._shared(lambda length: self.reader.text(length))
            case 0x08:
                return self._shared(lambda _: self.reader.double())
            case 0x09:
                return self._shared(lambda length: self._array(length, depth))
            case 0x0A:
                return self._shared(lambda flags: self._object(flags, depth))
            case 0x0C:
                return self._shared(self.reader.bytes)
            case 0x0D | 0x0E | 0x0F:
                return self._shared(lambda length: self._vector(kind, length))
            case 0x10:
                return self._shared(lambda length: self._objects_vector(length, depth))
            case 0x11:
                return self._shared(lambda length: self._dictionary(length, depth))
        raise ProtocolError(f"AMF3: unknown type {kind}")

    def _u29(self) -> int:
        """A number in one to four bytes (1.3.1)."""
        number = 0
        for _ in range(3):
            byte = self.reader.number(1)
            number = number << 7 | byte & 0x7F
            if byte < 0x80:
                return number
        return number << 8 | self.reader.number(1)

    def _text(self, most: int = 1 << 16) -> str:
        head = self._u29()
        if not head & 1:
            return str(_found(self.texts, head >> 1))
        text = self.reader.text(head >> 1, most)
        if text:
            self.texts.append(text)
        return text

    def _shared(self, read: Callable[[int], Any]) -> Any:
        """A reference to a former object, or one that `read` reads and that may be referred to."""
        head = self._u29()
        if not head & 1:
            return _found(self.objects, head >> 1)
        place = len(self.objects)
        self.objects.append(UNDEFINED)
        self.objects[place] = read(head >> 1)
        return self.objects[place]

    def _members(self, into: dict[str, Any], depth: int) -> dict[str, Any]:
        """Names and values up to the empty name."""
        while name := self._text(KEY):
            into[name] = self.value(depth + 1)
        return into

    def _array(self, length: int, depth: int) -> Any:
        named = self._members({}, depth)
        self._fits(length)
        items = [self.value(depth + 1) for _ in range(length)]
        return named | {str(n): item for n, item in enumerate(items)} if named else items

    def _object(self, flags: int, depth: int) -> dict[str, Any]:
        traits = self._described(flags)
        members = {name: self.value(depth + 1) for name in traits.members}
        return self._members(members, depth) if traits.dynamic else members

    def _described(self, flags: int) -> _Traits:
        if not flags & 1:
            found: _Traits = _found(self.traits, flags >> 1)
            return found
        if flags & 2:
            raise ProtocolError("AMF3: an externalizable object")
        self._text(KEY)
        self._fits(flags >> 3)
        traits = _Traits([self._text(KEY) for _ in range(flags >> 3)], bool(flags & 4))
        self.traits.append(traits)
        return traits

    def _vector(self, kind: int, length: int) -> list[Any]:
        width, code = _VECTORS[kind]
        self.reader.bytes(1)
        self._fits(length * width)
        return list(struct.unpack(f">{length}{code}", self.reader.bytes(length * width)))

    def _objects_vector(self, length: int, depth: int) -> list[Any]:
        self.reader.bytes(1)
        self._text(KEY)
        self._fits(length)
        return [self.value(depth + 1) for _ in range(length)]

    def _dictionary(self, length: int, depth: int) -> dict[str, Any]:
        self.reader.bytes(1)
        self._fits(length)
        return {self._key(depth): self.value(depth + 1) for _ in range(length)}

    def _key(self, depth: int) -> str:
        """A dictionary's key; one that is an object would be a text of any length."""
        key = self.value(depth + 1)
        if not isinstance(key, str | int | float):
            raise ProtocolError("AMF3: a dictionary's key is no text")
        return str(key)

    def _fits(self, number: int) -> None:
        """Nothing is read for a count that its message cannot hold."""
        if number > self.reader.left:
            raise ProtocolError("AMF3: a list is longer than its message")


def _found(table: list[Any], number: int) -> Any:
    if number >= len(table) or table[number] is UNDEFINED:
        raise ProtocolError("AMF3: a reference to nothing, or to an object around it")
    return table[number]


def value_in(reader: Reader, depth: int = 0) -> Any:
    """One value at the reader's place, with tables of its own. Raises `ProtocolError`."""
    return _Decoder(reader).value(depth)


def decode(data: bytes | bytearray | memoryview, allowance: Allowance | None = None) -> list[Any]:
    """All values of a message, with common tables. Raises `ProtocolError`."""
    reader = Reader(data, allowance=allowance)
    decoder = _Decoder(reader)
    values = []
    while reader.left:
        values.append(decoder.value(0))
    return values


def encode(values: Iterable[Any]) -> bytes:
    """The values one after another, without references. Raises `TypeError` for other types."""
    out = bytearray()
    for value in values:
        _write(out, value)
    return bytes(out)


def _write(out: bytearray, value: Any) -> None:
    match value:
        case Undefined():
            out.append(0x00)
        case None:
            out.append(0x01)
        case bool():
            out.append(0x03 if value else 0x02)
        case int() if value in _INTEGERS:
            out.append(0x04)
            out += _u29(value & 0x1FFFFFFF)
        case int() | float():
            out += struct.pack(">Bd", 0x05, value)
        case str():
            out.append(0x06)
            out += _text(value)
        case bytes():
            out += b"\x0c" + _u29(len(value) << 1 | 1) + value
        case list() | tuple():
            out += b"\x09" + _u29(len(value) << 1 | 1) + b"\x01"
            for item in value:
                _write(out, item)
        case Mapping():
            # An anonymous dynamic object without sealed members (3.12).
            out += b"\x0a\x0b\x01"
            for key, member in value.items():
                out += _text(str(key))
                _write(out, member)
            out.append(0x01)
        case _:
            raise TypeError(f"AMF3 has no {type(value).__name__}")


def _text(text: str) -> bytes:
    encoded = text.encode()
    return _u29(len(encoded) << 1 | 1) + encoded


def _u29(number: int) -> bytes:
    if number < 0x80:
        return bytes([number])
    if number < 0x4000:
        return bytes([number >> 7 | 0x80, number & 0x7F])
    if number < 0x200000:
        return bytes([number >> 14 | 0x80, number >> 7 & 0x7F | 0x80, number & 0x7F])
    parts = (number >> 22 & 0x7F | 0x80, number >> 15 & 0x7F | 0x80, number >> 8 & 0x7F | 0x80)
    return bytes([*parts, number & 0xFF])
