"""Transport-wide feedback as bytes: what is told is read, and what makes no sense refused."""

from __future__ import annotations

import struct
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as some

from streamgen.deliver.congestion.feedback import BadFeedback, is_feedback, messages, read
from tests.deliver.congestion.way import told

STEPS = some.lists(some.none() | some.integers(-30_000, 30_000), min_size=1, max_size=300)


@given(STEPS, some.integers(0, 0xFFFF), some.integers(0, 0xFFFFFF))
def test_what_is_told_is_read(steps: list[int | None], base: int, reference: int) -> None:
    now, arrivals = 0, []
    for step in steps:
        now += step or 0
        arrivals.append(None if step is None else now)
    heard = read(told(base, reference, arrivals))
    assert (heard.base, heard.reference, heard.arrivals) == (base, reference, arrivals)


def test_runs_and_single_bits_are_read_too() -> None:
    # The example of the draft's 3.1.3 and 3.1.4: a run of absent ones, then single bits.
    chunks = struct.pack(">HH", 0x0000 | 221, 0x8000 | 0b01111100000001)
    times = bytes([4, 4, 4, 4, 4, 4])
    head = struct.pack(">BBHIIHHI", 0x8F, 205, 0, 1, 2, 65_530, 235, 7 << 8)
    heard = read(head + chunks + times)
    assert heard.arrivals[:221] == [None] * 221
    assert heard.arrivals[221:] == [None, 4, 8, 12, 16, 20, *[None] * 7, 24]
    received = struct.pack(">BBHIIHHI", 0x8F, 205, 0, 1, 2, 0, 3, 0) + struct.pack(">H", 0x2003)
    assert read(received + bytes([1, 2, 3])).arrivals == [1, 3, 6]


@pytest.mark.parametrize(
    ("count", "rest"),
    [
        (0, b""),
        (3, b""),
        (3, b"\x20"),
        (3, b"\x20\x03\x01\x01"),  # a time is missing
        (3, b"\x20\x00\x20\x03\x01\x01\x01"),  # a run of none
        (3, b"\x60\x03\x01\x01\x01"),  # a reserved status
        (0xFFFF, b"\x1f\xff" * 20),
    ],
)
def test_what_makes_no_sense_is_refused(count: int, rest: bytes) -> None:
    head = struct.pack(">BBHIIHHI", 0x8F, 205, 0, 1, 2, 0, count, 0)
    with pytest.raises(BadFeedback):
        read(head + rest)


@given(some.binary(max_size=200))
def test_nothing_but_its_own_error_is_raised(data: bytes) -> None:
    message = b"\x8f\xcd" + data
    with suppress(BadFeedback):
        assert 0 < len(read(message).arrivals) <= 1 << 13


def test_a_compound_is_taken_apart() -> None:
    report = struct.pack(">BBHI", 0x80, 201, 1, 7)
    one = told(5, 1, [0, None, 4])
    parts = list(messages(report + one + b"\x81\xca"))
    assert parts == [report, one] and [is_feedback(part) for part in parts] == [False, True]
    assert not is_feedback(b"\x81\xcd\0\0") and not is_feedback(b"")
