from __future__ import annotations

import pytest

from streamgen_edge.rtmp.clock import MessageClock

HOURS_26 = 26 * 3600 * 1000


@pytest.mark.parametrize("bits", [24, 31, 32])
def test_a_clock_that_wraps_goes_on(bits: int) -> None:
    clock, start = MessageClock(), (1 << bits) - 1000
    sent = range(start, start + 100_000, 33)
    assert [clock.unwrap(time % (1 << bits)) for time in sent] == list(sent)
    assert clock.wraps == 1


@pytest.mark.parametrize("bits", [24, 31, 32])
def test_sound_that_is_late_across_a_wrap_stays_behind_it(bits: int) -> None:
    clock, start = MessageClock(), (1 << bits) - 100
    sent = [start, start - 40, start + 120, start + 20, start + 90, start + 160]
    assert [clock.unwrap(time % (1 << bits)) for time in sent] == sent


def test_a_day_of_a_24_bit_clock_is_a_day() -> None:
    clock = MessageClock()
    last = [clock.unwrap(time % (1 << 24)) for time in range(0, HOURS_26, 5000)][-1]
    assert last == (HOURS_26 - 1) // 5000 * 5000
    assert clock.wraps == HOURS_26 >> 24


def test_a_32_bit_clock_passes_24_bits_without_a_step() -> None:
    clock = MessageClock()
    sent = range((1 << 24) - 500, (1 << 24) + 500, 40)
    assert [clock.unwrap(time) for time in sent] == list(sent)
    assert clock.wraps == 0


@pytest.mark.parametrize("step", [-5000, 3_600_000, -3_600_000, (1 << 30)])
def test_jumps_are_left_to_the_timeline(step: int) -> None:
    clock = MessageClock()
    clock.unwrap(4_000_000)
    assert clock.unwrap((4_000_000 + step) % (1 << 32)) == 4_000_000 + step
