"""What one target is behind: bounded, whole from a key frame on, and of a rung that is there."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from fractions import Fraction

import pytest

from streamgen.media.packet import Packet
from streamgen_edge.push import backlog as module
from streamgen_edge.push.backlog import Backlog
from tests.edge.webrtc.peers import looped

TOP, LOW, SOUND = "video/720p", "video/240p", "audio/aac"


def at(seconds: float, track: str = TOP, *, key: bool = False, size: int = 100) -> Packet:
    time = round(seconds * 90_000)
    return Packet(bytes(size), time, time, 0, Fraction(1, 90_000), key, track)


class Target:
    """A backlog, and how many pictures it lost."""

    def __init__(self, *, sounds: int = 1) -> None:
        self.lost = 0
        self.resting: Collection[str] = ()
        self.backlog = Backlog((TOP, LOW), lambda: self.resting, self._lose, sounds=sounds)

    def _lose(self, number: int) -> None:
        self.lost += number

    def put(self, *packets: Packet) -> None:
        for packet in packets:
            self.backlog.put(packet)

    def taken(self) -> list[Packet]:
        """What the process would get without waiting."""
        found: list[Packet] = []
        while self.backlog._changed.is_set():
            coro = self.backlog.take()
            with pytest.raises(StopIteration) as done:
                coro.send(None)
            found += done.value.value
        return found


def test_it_begins_with_a_key_frame_and_what_came_before_is_no_loss() -> None:
    target = Target()
    first = at(0.08, key=True)
    target.put(at(0), at(0, SOUND, key=True), at(0.04), first, at(0.1, SOUND, key=True), at(0.12))
    assert [p.pts for p in target.taken()] == [p.pts for p in (first, at(0.1), at(0.12))]
    assert target.lost == 0


def test_a_full_one_loses_all_up_to_the_next_key_frame_and_counts_pictures(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "MOST_BYTES", 1000)
    target = Target()
    target.put(at(0, key=True, size=600), at(0.01, SOUND), at(0.04, size=600))  # too much
    assert target.taken() == [] and target.lost == 2 and target.backlog.bytes == 0
    target.put(at(0.08), at(0.09, SOUND), at(0.12))
    assert target.taken() == [] and target.lost == 4
    target.put(at(0.16, key=True), at(0.17, SOUND), at(0.2))
    assert len(target.taken()) == 3 and target.lost == 4


def test_a_lower_rung_stands_in_for_one_that_rests_until_it_is_back() -> None:
    target = Target()
    target.put(at(0, LOW, key=True), at(0, key=True), at(0.04, LOW), at(0.04))
    assert {p.track for p in target.taken()} == {TOP}
    target.resting = {TOP}
    target.put(at(0.5, LOW), at(1, LOW, key=True), at(1.04, LOW))
    assert [p.track for p in target.taken()] == [LOW, LOW]
    assert target.backlog.rung == LOW
    target.resting = ()
    target.put(at(2, LOW, key=True), at(2, key=True), at(2.04, LOW), at(2.04))
    assert [p.track for p in target.taken()] == [LOW, TOP, TOP]


def test_a_rung_that_says_nothing_more_is_left_although_it_does_not_rest() -> None:
    target = Target()
    target.put(at(0, key=True), at(0, LOW, key=True))
    target.put(at(0.9, LOW, key=True))
    assert [p.track for p in target.taken()] == [TOP]
    target.put(at(1.1, LOW, key=True), at(1.14, LOW))
    assert [p.track for p in target.taken()] == [LOW, LOW]


def test_sound_waits_for_a_picture_but_not_for_long() -> None:
    target = Target(sounds=4)
    target.put(at(0, key=True))
    target.taken()
    target.put(*(at(0.01 * n, SOUND) for n in range(3)))
    assert target.taken() == []
    target.put(at(0.04, SOUND))
    assert len(target.taken()) == 4
    target.put(at(0.05, SOUND), at(0.06))
    assert len(target.taken()) == 2


def test_much_is_taken_in_pieces_and_nothing_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_AT_ONCE", 250)
    target = Target()
    packets = [at(0, key=True), *(at(0.04 * n) for n in range(1, 7))]
    target.put(*packets)
    assert target.taken() == packets
    assert target.backlog.bytes == 0


@looped
async def test_the_end_of_the_stream_comes_behind_what_is_inside() -> None:
    target = Target()
    target.put(at(0, key=True))
    target.backlog.end()
    async with asyncio.timeout(5):
        assert len(await target.backlog.take()) == 1
        assert await target.backlog.take() == []
