"""AMF0, the values of RTMP commands and metadata (AMF 0 specification, section 2).

Numbers are floats, objects and ECMA arrays dicts, dates floats of milliseconds, XML and long
strings texts. A reference stands for the finished object it names; one to an object around itself
is refused, so that no value contains itself.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from enum import IntEnum
from typing import Any

from streamgen_edge.rtmp import amf3
from streamgen_edge.rtmp.amf import KEY, TEXT, UNDEFINED, Allowance, Reader, Undefined
from streamgen_edge.rtmp.limits import ProtocolError


class Marker(IntEnum):
    """What a value begins with (2.1)."""

    NUMBER, BOOLEAN, STRING, OBJECT, CLIP, NULL, UNDEFINED, REFERENCE, ARRAY, END = range(10)
    LIST, DATE, LONG_STRING, UNSUPPORTED, RECORDSET, XML, TYPED, AMF3 = range(10, 18)


_KEPT = 1024
"""Objects of one message that may be referred to."""


def decode(data: bytes | bytearray | memoryview, allowance: Allowance | None = None) -> list[Any]:
    """All values of a message. Raises `ProtocolError`."""
    reader = Reader(data, allowance=allowance)
    known: list[Any] = []
    values = []
    while reader.left:
        values.append(_value(reader, known, 0))
    return values


def _value(reader: Reader, known: list[Any], depth: int) -> Any:
    reader.enter(depth)
    kind = reader.number(1)
    match kind:
        case Marker.NUMBER:
            return reader.double()
        case Marker.BOOLEAN:
            return reader.number(1) != 0
        case Marker.STRING:
            return reader.text(reader.number(2))
        case Marker.OBJECT | Marker.ARRAY | Marker.TYPED:
            return _object(reader, known, depth, kind)
        case Marker.NULL:
            return None
        case Marker.UNDEFINED | Marker.UNSUPPORTED:
            return UNDEFINED
        case Marker.REFERENCE:
            return _referred(known, reader.number(2))
        case Marker.LIST:
            return _list(reader, known, depth)
        case Marker.DATE:
            when = reader.double()
            reader.bytes(2)
            return when
        case Marker.LONG_STRING | Marker.XML:
            return reader.text(reader.number(4))
        case Marker.AMF3:
            return amf3.value_in(reader, depth + 1)
    raise ProtocolError(f"AMF0: unknown type {kind}")


def _object(reader: Reader, known: list[Any], depth: int, kind: int) -> dict[str, Any]:
    place = _reserve(known)
    if kind == Marker.TYPED:
        reader.text(reader.number(2), KEY)
    if kind == Marker.ARRAY:
        # The count is a hint that encoders get wrong; the end mark is what counts.
        reader.bytes(4)
    members: dict[str, Any] = {}
    while reader.left:
        length = reader.number(2)
        if length == 0 and reader.left and reader.data[reader.at] == Marker.END:
            reader.at += 1
            break
        key = reader.text(length, KEY)
        members[key] = _value(reader, known, depth + 1)
    _keep(known, place, members)
    return members


def _list(reader: Reader, known: list[Any], depth: int) -> list[Any]:
    place = _reserve(known)
    number = reader.number(4)
    if number > reader.left:
        raise ProtocolError("AMF0: an array is longer than its message")
    items = [_value(reader, known, depth + 1) for _ in range(number)]
    _keep(known, place, items)
    return items


def _reserve(known: list[Any]) -> int:
    if len(known) < _KEPT:
        known.append(UNDEFINED)
        return len(known) - 1
    return -1


def _keep(known: list[Any], place: int, value: Any) -> None:
    if place >= 0:
        known[place] = value


def _referred(known: list[Any], number: int) -> Any:
    if number >= len(known) or known[number] is UNDEFINED:
        raise ProtocolError("AMF0: a reference to nothing, or to an object around it")
    return known[number]


def encode(values: Iterable[Any]) -> bytes:
    """The values one after another. Raises `TypeError` for what AMF0 has no type for."""
    out = bytearray()
    for value in values:
        _write(out, value)
    return bytes(out)


def _write(out: bytearray, value: Any) -> None:
    match value:
        case bool():
            out += bytes([Marker.BOOLEAN, value])
        case int() | float():
            out += struct.pack(">Bd", Marker.NUMBER, value)
        case str():
            text = value.encode()
            short = len(text) < TEXT
            out += struct.pack(
                ">BH" if short else ">BI", Marker.STRING if short else Marker.LONG_STRING, len(text)
            )
            out += text
        case None:
            out.append(Marker.NULL)
        case Undefined():
            out.append(Marker.UNDEFINED)
        case Mapping():
            out.append(Marker.OBJECT)
            for key, member in value.items():
                name = str(key).encode()
                out += struct.pack(">H", len(name)) + name
                _write(out, member)
            out += b"\0\0\x09"
        case list() | tuple():
            out += struct.pack(">BI", Marker.LIST, len(value))
            for item in value:
                _write(out, item)
        case _:
            raise TypeError(f"AMF0 has no {type(value).__name__}")
