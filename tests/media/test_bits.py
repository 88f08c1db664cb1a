"""`Bits`: what an encoder wrote is read back, and nothing is read behind the end."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamgen.media.bits import Bits


def coded(number: int) -> str:
    """ue(v), H.264 table 9-2."""
    text = f"{number + 1:b}"
    return "0" * (len(text) - 1) + text


@given(st.lists(st.integers(0, 2**20)))
def test_codes_are_read_as_they_were_written(numbers: list[int]) -> None:
    text = "".join(map(coded, numbers)) + "1"
    text += "0" * (-len(text) % 8)
    bits = Bits(int(text, 2).to_bytes(len(text) // 8, "big"))
    assert [bits.ue() for _ in numbers] == numbers


def test_signed_codes_take_turns_around_zero() -> None:
    text = "".join(map(coded, range(5)))
    bits = Bits(int(text.ljust(24, "0"), 2).to_bytes(3, "big"))
    assert [bits.se() for _ in range(5)] == [0, 1, -1, 2, -2]


def test_nothing_is_read_behind_the_end() -> None:
    bits = Bits(b"\xff")
    assert bits.take(8) == 255
    with pytest.raises(IndexError):
        bits.take(1)


def test_a_code_without_end_is_refused() -> None:
    with pytest.raises(ValueError, match="not a code"):
        Bits(bytes(8)).ue()
