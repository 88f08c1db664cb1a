"""Credit keeps a link's queues short, and drops whole GOPs when a receiver is too slow."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

from streamgen.media.credit import MOST_WAITING_BYTES, STALL_NS, Intake, Item, Outflow, time_ms
from streamgen.media.envelope import Kind
from streamgen.media.packet import Packet

MS = 1_000_000
BASE = Fraction(1, 1000)


class Line:
    """An outflow of one picture track (0) and one of sound (1), and what it dropped."""

    def __init__(self, window_bytes: int = 1_000_000, window_ms: float = 1000) -> None:
        self.lost: list[tuple[int, str]] = []
        self.flow = Outflow(
            lambda item, why: self.lost.append((item.packet.pts or 0, why)),
            videos=frozenset({0}),
            window_bytes=window_bytes,
            window_ms=window_ms,
        )

    def put(
        self,
        at: int,
        *,
        track: int = 0,
        key: bool = False,
        size: int = 10,
        discard: bool = False,
        replayed: bool = False,
        kind: Kind = Kind.PACKET,
    ) -> bool:
        packet = Packet(bytes(size), at, at, 0, BASE, key or track == 1, "", 0, discard)
        packet = replace(packet, replayed=replayed)
        return self.flow.put(Item(track, packet, 0, size, time_ms(packet), kind), at * MS)

    def taken(self, now_ms: int) -> list[int]:
        found = []
        while (item := self.flow.take(now_ms * MS)) is not None:
            found.append(item.packet.pts or 0)
        return found


def test_without_news_of_the_receiver_only_bytes_count() -> None:
    line = Line(window_bytes=35)
    for at in range(0, 500, 100):
        line.put(at, key=at == 0)
    assert line.taken(0) == [0, 100, 200]
    line.flow.credit(10, 0)
    assert line.taken(0) == [300]
    line.flow.credit(40, 300)
    assert line.taken(0) == [400]


def test_no_more_than_a_window_of_time_is_under_way() -> None:
    line = Line(window_ms=300)
    line.put(0, key=True)
    assert line.taken(0) == [0]
    for at in range(100, 800, 100):
        line.put(at)
    line.flow.credit(0, 0)
    assert line.taken(100) == [100, 200, 300]
    line.flow.credit(10, 150)
    assert line.taken(100) == [400]


def test_a_leap_in_time_does_not_block_a_line_with_nothing_under_way() -> None:
    line = Line(window_ms=300)
    line.put(0, key=True)
    assert line.taken(0) == [0]
    line.flow.credit(10, 0)
    line.put(60_000)
    assert line.taken(0) == [60_000]


def test_what_waits_too_long_goes_up_to_the_newest_key_frame() -> None:
    line = Line(window_bytes=10)
    line.put(0, key=True)
    assert line.taken(0) == [0]
    for at in range(100, 600, 100):
        line.put(at, key=at in (200, 400))
    line.put(450, track=1)
    assert line.taken(100 + STALL_NS // MS) == []
    assert line.lost == []
    assert line.taken(101 + STALL_NS // MS) == []
    assert line.lost == [(100, "credit"), (200, "credit"), (300, "credit")]
    line.flow.credit(10, 0)
    assert line.taken(500) == [400]
    line.flow.credit(20, 400)
    assert line.taken(500) == [500]


def test_after_a_drop_without_a_key_frame_pictures_wait_for_one_and_sound_does_not() -> None:
    line = Line(window_bytes=10)
    line.put(0, key=True)
    line.taken(0)
    line.put(100)
    assert line.taken(400) == []
    assert line.lost == [(100, "credit")]
    assert not line.put(400)
    assert line.put(410, track=1)
    assert line.put(500, key=True)
    line.flow.credit(10, 0)
    assert line.taken(500) == [410]


def test_a_receiver_that_is_steadily_too_slow_gets_no_further_behind_than_the_window() -> None:
    line, intake = Line(window_ms=400), Intake()
    behind, under_way = [], []
    for at in range(0, 20_000, 40):
        line.put(at, key=at % 1000 == 0)
        under_way += line.taken(at)
        if at % 80 == 0 and under_way:  # consumes half of what comes
            first = under_way.pop(0)
            intake.consumed(Packet(bytes(10), first, first, 0, BASE, False, ""), 10)
            behind.append(at - first)
            line.flow.credit(*(intake.news() or (0, None)))
    assert max(behind) < 400 + 1000 + STALL_NS // MS
    assert line.lost


def test_sound_far_ahead_of_its_pictures_delays_none_of_them() -> None:
    line = Line(window_ms=300)
    line.put(0, key=True)
    assert line.taken(0) == [0]
    line.flow.credit(0, 0)
    for at in range(5000, 9000, 20):
        line.put(at, track=1)
    line.put(40)
    assert line.taken(10_000) == [*range(5000, 9000, 20), 40]
    assert not line.lost


def test_sound_without_pictures_keeps_the_pace_itself() -> None:
    line = Line(window_ms=300)
    line.put(0, track=1)
    assert line.taken(0) == [0]
    line.flow.credit(0, 0)
    for at in range(200, 1000, 200):
        line.put(at, track=1)
    assert line.taken(200) == [200]
    assert line.taken(401 + STALL_NS // MS) == []
    assert line.lost == [(at, "credit") for at in range(400, 1000, 200)]


def test_what_is_only_replayed_is_never_dropped_for_its_age() -> None:
    line = Line(window_bytes=10)
    line.put(0, key=True, discard=True)
    line.put(40, discard=True)
    assert line.taken(10_000) == [0]
    assert line.taken(20_000) == []
    assert line.lost == []


def test_what_is_owed_is_neither_paced_nor_dropped_for_its_age() -> None:
    line, intake = Line(window_ms=100), Intake()
    for at in range(0, 2000, 40):
        line.put(at, key=at == 0, replayed=True)
    line.put(2000)
    assert line.taken(10_000) == list(range(0, 2001, 40))
    intake.consumed(replace(Packet(b"", 0, 0, 0, BASE, True, ""), replayed=True), 10)
    assert intake.news() == (10, None)


def test_descriptions_survive_every_drop() -> None:
    line = Line(window_bytes=10)
    line.put(0, key=True)
    line.taken(0)
    line.put(100)
    line.put(0, track=1, size=0, kind=Kind.DESCRIPTION)
    line.taken(1000)
    assert line.lost == [(100, "credit")]
    assert len(line.flow) == 1


def test_a_queue_beyond_every_bound_is_dropped() -> None:
    line = Line(window_bytes=10)
    line.put(0, key=True, size=MOST_WAITING_BYTES, discard=True)
    line.put(40, size=20)
    assert (0, "overflow") in line.lost


def test_what_the_socket_refused_is_the_next_to_leave() -> None:
    line = Line()
    line.put(0, key=True)
    line.put(40)
    first = line.flow.take(0)
    assert first is not None
    line.flow.back(first)
    assert line.taken(0) == [0, 40]
