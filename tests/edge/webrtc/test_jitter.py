"""Pictures come out with their last packet; what is lost costs a moment, not the stream."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamgen_edge.webrtc.jitter import MOST, Arrived, JitterBuffer
from streamgen_edge.webrtc.sync import STEP_NS, TrackClock

MS = 1_000_000


def buffer(video: bool = True) -> JitterBuffer:
    return JitterBuffer(
        video=video, wait_ns=200 * MS if video else 60 * MS, is_key=lambda data: data[:1] == b"K"
    )


def picture(number: int, *, key: bool = False, packets: int = 3) -> list[Arrived]:
    head = b"K" if key else b"p"
    return [
        Arrived(
            3000 * number,
            at == packets - 1,
            (head if at == 0 else b"") + bytes([number, at]),
            key and at == 0,
        )
        for at in range(packets)
    ]


def fed(numbered: list[tuple[int, Arrived]], into: JitterBuffer, now: int = 0) -> list[bytes]:
    return [u.data for n, packet in numbered for u in into.add(n & 0xFFFF, packet, now)]


def stream(count: int, *, first: int = 65_530, keys: tuple[int, ...] = (0,)) -> list:
    packets = [p for n in range(count) for p in picture(n, key=n in keys)]
    return list(enumerate(packets, first))


def test_a_picture_is_out_with_the_packet_that_bears_its_marker() -> None:
    one = buffer()
    numbered = stream(2)
    assert fed(numbered[:2], one) == []
    assert fed(numbered[2:3], one) == [b"K\0\0\0\1\0\2"]


@given(st.permutations(range(12)))
def test_any_order_gives_the_same_pictures(order: list[int]) -> None:
    one = buffer()
    numbered = stream(5, first=100)
    # The very first packet tells where the stream begins.
    shuffled = numbered[:3] + [numbered[3 + at] for at in order]
    assert fed(shuffled, one) == fed(numbered, buffer())


def test_a_packet_that_comes_twice_counts_once() -> None:
    one = buffer()
    numbered = stream(3)
    assert len(fed([pair for pair in numbered for _ in range(2)], one)) == 3


def test_what_is_missing_is_named_and_waited_for_no_longer_than_it_may() -> None:
    one = buffer()
    numbered = stream(8, keys=(0, 6))
    out = fed(numbered[:4] + numbered[5:10], one)
    assert len(out) == 1 and one.blocked
    assert one.missing() == [(65_530 + 4) & 0xFFFF]
    assert one.expire(199 * MS) == []
    assert one.expire(200 * MS) == [] and one.broken
    # The rest up to the key frame refers to what was lost.
    assert [data[:1] for data in fed(numbered[10:], one, 210 * MS)] == [b"K", b"p"]
    assert not one.broken and one.skipped == 1


def test_many_holes_are_not_waited_for_one_after_the_other() -> None:
    one = buffer()
    numbered = stream(40, keys=(0, 36))
    for at, pair in enumerate(numbered):
        if at < 3 or at % 3 != 1 or at > 105:  # every picture but the last ones has a hole
            one.add(pair[0] & 0xFFFF, pair[1], at * MS)
    out = one.expire(400 * MS)
    assert [unit.data[0:1] for unit in out] == [b"K", b"p", b"p", b"p"]
    assert not one.blocked and not one.broken


def test_a_hole_behind_one_that_was_mended_has_its_own_time() -> None:
    one = buffer()
    numbered = stream(6)
    fed(numbered[:4] + numbered[5:8], one)
    fed(numbered[9:], one, 150 * MS)
    assert len(fed([numbered[4]], one, 190 * MS)) == 1
    assert one.expire(201 * MS) == [] and one.blocked and not one.broken
    assert len(fed([numbered[8]], one, 210 * MS)) == 4


def test_holes_of_thousands_are_told_of_and_given_up_in_no_time() -> None:
    one = buffer()
    began = time.monotonic()
    for number in range(MOST):
        one.add(number * 2999 & 0xFFFF, Arrived(3000 * number, True, b"p"), 0)
    for _ in range(20):
        assert len(one.missing(64)) == 64
    one.expire(200 * MS)
    assert time.monotonic() - began < 2 and one.missing() == []


def test_a_retransmission_in_time_loses_nothing() -> None:
    one = buffer()
    numbered = stream(6)
    fed(numbered[:4] + numbered[5:], one)
    assert len(fed([numbered[4]], one, 100 * MS)) == 5
    assert not one.blocked and not one.broken


def test_a_key_frame_right_behind_a_loss_is_not_lost_with_it() -> None:
    one = buffer()
    numbered = stream(3, keys=(0, 2))
    fed(numbered[:5] + numbered[6:], one)
    assert [unit.data[:1] for unit in one.expire(10**9)] == [b"K"]


def test_a_source_that_leaves_markers_out_is_cut_by_time() -> None:
    one = buffer()
    unmarked = [
        (at, Arrived(p.timestamp, False, p.data, p.begins_key)) for at, p in stream(3, first=0)
    ]
    assert len(fed(unmarked, one)) == 2


def test_another_source_under_the_same_name_begins_anew() -> None:
    one = buffer()
    fed(stream(3, first=100), one)
    assert len(fed(stream(3, first=30_000, keys=(1,)), one)) == 2


@pytest.mark.parametrize("step", [0, 1])
def test_memory_is_bounded_when_an_end_or_a_packet_never_comes(step: int) -> None:
    one = buffer()
    fed(stream(2, first=0)[:4], one)
    for number in range(4 + step, 3 * MOST):
        one.add(number & 0xFFFF, Arrived(9000, False, b"p"), 0)
        assert len(one._held) <= MOST + 1
    assert one.broken


def test_sound_comes_out_packet_by_packet_in_order() -> None:
    one = buffer(video=False)
    packets = [(n, Arrived(960 * n, False, bytes([n]))) for n in (0, 1, 3, 2, 5)]
    assert fed(packets, one) == [b"\0", b"\1", b"\2", b"\3"]
    assert [unit.data for unit in one.expire(60 * MS)] == [b"\5"]


def test_tracks_that_arrive_together_belong_together_until_reports_say_better() -> None:
    leader = TrackClock(90_000)
    sound = TrackClock(48_000, leader)
    second = 1_000_000_000
    zero = leader.place(4_000_000_000, 10 * second)
    assert zero == 900_000
    assert sound.place(77, 10 * second) == 480_000
    # The publisher says that this sound is 0.25 s older than this picture.
    leader.reported(5 << 32, 4_000_000_000)
    sound.reported((5 << 32) - (1 << 30), 77)
    assert sound.place(77 + 48_000, 11 * second) == 528_000 - 12_000
    assert sound.steps == 1
    # Small errors are left alone.
    sound.reported((6 << 32) - (1 << 30) + (STEP_NS << 32) // (2 * second), 77 + 48_000)
    assert sound.steps == 1


def test_timestamps_wrap_and_step_back() -> None:
    clock = TrackClock(90_000)
    first = clock.place((1 << 32) - 3000, 0)
    assert clock.place(0, 33) - first == 3000
    assert clock.place((1 << 32) - 1500, 40) - first == 1500
    assert clock.place(6000, 99) - first == 9000
