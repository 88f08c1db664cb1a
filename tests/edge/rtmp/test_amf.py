from __future__ import annotations

import contextlib
import math
import struct
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamgen_edge.rtmp import amf0, amf3
from streamgen_edge.rtmp.amf import UNDEFINED
from streamgen_edge.rtmp.limits import ProtocolError

TEXTS = st.text(max_size=30)
VALUES = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False) | TEXTS | st.just(UNDEFINED),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(min_size=1, max_size=9), inner, max_size=4)
    ),
    max_leaves=12,
)
CODECS = pytest.mark.parametrize("codec", [amf0, amf3], ids=["amf0", "amf3"])


@CODECS
@settings(max_examples=80, deadline=None)
@given(values=st.lists(VALUES, max_size=4))
def test_what_is_written_is_read_back(codec: Any, values: list[Any]) -> None:
    assert codec.decode(codec.encode(values)) == values


@CODECS
@settings(max_examples=200, deadline=None)
@given(data=st.binary(max_size=200))
def test_random_bytes_give_values_or_a_protocol_error(codec: Any, data: bytes) -> None:
    with contextlib.suppress(ProtocolError):
        codec.decode(data)


@CODECS
@settings(max_examples=150, deadline=None)
@given(values=st.lists(VALUES, max_size=4), data=st.data())
def test_damaged_values_give_values_or_a_protocol_error(
    codec: Any, values: list[Any], data: st.DataObject
) -> None:
    encoded = bytearray(codec.encode(values)) or bytearray(1)
    for _ in range(3):
        encoded[data.draw(st.integers(0, len(encoded) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(ProtocolError):
        codec.decode(encoded[: data.draw(st.integers(0, len(encoded)))])


@CODECS
def test_long_texts_and_whole_numbers_survive(codec: Any) -> None:
    values = ["x" * 65_535, 7, -1, 2**28 - 1, -(2**28), 2**28, 2**40]
    assert codec.decode(codec.encode(values)) == values


@CODECS
def test_depth_is_bounded_before_the_stack_is(codec: Any) -> None:
    value: Any = {}
    for _ in range(15):
        value = {"a": value}
    assert codec.decode(codec.encode([value])) == [value]
    start, close = (b"\x03\x00\x01a", b"") if codec is amf0 else (b"\x0a\x0b\x01\x03a", b"")
    with pytest.raises(ProtocolError, match="in each other"):
        codec.decode(start * 70_000 + close)


def test_the_count_of_an_ecma_array_is_not_believed() -> None:
    data = b"\x08\xff\xff\xff\xff" + b"\x00\x01a\x05" + b"\x00\x00\x09"
    assert amf0.decode(data) == [{"a": None}]


@pytest.mark.parametrize(
    "data",
    [
        b"\x0a\xff\xff\xff\xff\x05",
        b"\x02\xff\xffab",
        b"\x0c\xff\xff\xff\xffab",
        b"\x31",
        b"\x00\x01",
        b"\x07\x00\x00",
        b"\x03\x00\x01a\x07\x00\x00\x00\x00\x09",
    ],
    ids=["array", "string", "long string", "type", "number", "reference", "cycle"],
)
def test_amf0_that_lies_is_refused(data: bytes) -> None:
    with pytest.raises(ProtocolError, match="AMF"):
        amf0.decode(data)


@pytest.mark.parametrize(
    "data",
    [
        b"\x09\x81\x81\x81\x01\x01",
        b"\x06\xff\xff\xff\xff",
        b"\x42",
        b"\x09\x00",
        b"\x09\x03\x01\x09\x00",
        b"\x0f\x81\x81\x81\x01\x00",
        b"\x0a\x07\x01",
        b"\x0a\xff\xff\xff\x7b\x01",
    ],
    ids=["array", "string", "type", "reference", "cycle", "vector", "external", "traits"],
)
def test_amf3_that_lies_is_refused(data: bytes) -> None:
    with pytest.raises(ProtocolError, match="AMF"):
        amf3.decode(data)


def test_a_message_with_very_many_values_is_refused() -> None:
    with pytest.raises(ProtocolError, match="values in a message"):
        amf0.decode(b"\x05" * 10_000)


def test_a_reference_is_the_object_it_names() -> None:
    data = b"\x03\x00\x01a\x05\x00\x00\x09" + b"\x07\x00\x00"
    assert amf0.decode(data) == [{"a": None}, {"a": None}]
    assert amf3.decode(b"\x09\x03\x01\x04\x05\x09\x00") == [[5], [5]]


def test_all_other_amf0_types_are_read() -> None:
    date = b"\x0b" + struct.pack(">d", 5.0) + b"\0\0"
    typed = b"\x10\x00\x01C\x00\x01a\x01\x01\x00\x00\x09"
    xml = b"\x0f\x00\x00\x00\x02<a"
    assert amf0.decode(date + typed + xml + b"\x0d\x06") == [
        *(5.0, {"a": True}, "<a", UNDEFINED, UNDEFINED)
    ]


def test_amf0_may_switch_to_amf3() -> None:
    assert amf0.decode(b"\x11\x0a\x0b\x01\x03a\x04\x07\x01\x05") == [{"a": 7}, None]


def test_all_other_amf3_types_are_read() -> None:
    date = b"\x08\x01" + struct.pack(">d", 5.0)
    numbers = b"\x0d\x05\x00" + struct.pack(">2i", 1, -2)
    objects = b"\x10\x03\x00\x01\x04\x01"
    dictionary = b"\x11\x03\x00\x06\x03k\x03"
    sealed = b"\x0a\x13\x01\x03a\x04\x02" + b"\x0a\x01\x04\x03"
    data = date + numbers + objects + dictionary + b"\x0c\x05ab" + sealed
    assert amf3.decode(data) == [5.0, [1, -2], [1], {"k": True}, b"ab", {"a": 2}, {"a": 3}]


def test_not_a_number_is_read_as_it_is() -> None:
    (value,) = amf0.decode(b"\x00\x7f\xf8" + bytes(6))
    assert math.isnan(value)


@CODECS
def test_what_amf_has_no_type_for_cannot_be_written(codec: Any) -> None:
    with pytest.raises(TypeError, match="set"):
        codec.encode([set()])
