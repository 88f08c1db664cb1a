"""What a worker's stream says last is not said before all that it made is on its way."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from streamgen.control.sender import Sender
from streamgen.media.credit import WINDOW_BYTES
from streamgen.media.envelope import Kind
from streamgen.media.packet import Packet

MS = Fraction(1, 1000)


class Stream:
    """A sender with one track of pictures, and what it said."""

    def __init__(self) -> None:
        self.said: list[bool] = []
        self.lost: list[tuple[int, str]] = []
        self.sender = Sender(1, 1, lambda _: None, lambda: None, lambda *why: self.lost.append(why))
        self.sender.announce([{"kind": "video"}])

    def put(self, at: int, size: int = 10) -> None:
        self.sender.send(0, Packet(bytes(size), at, at, 0, MS, at == 0, ""))

    def taken(self, now_ns: int = 0) -> list[Any]:
        found = []
        while (item := self.sender.take(now_ns)) is not None:
            found.append(item.kind if item.kind is Kind.END else item.packet.pts)
        return found


def test_the_last_word_waits_for_the_pictures_before_it() -> None:
    stream = Stream()
    stream.put(0, WINDOW_BYTES)
    stream.put(40)
    stream.sender.end()
    stream.sender.conclude(stream.said.append)
    assert stream.taken() == [0] and stream.said == []
    stream.sender.credit({"bytes": WINDOW_BYTES, "ms": 0})
    assert stream.taken() == [40, Kind.END]
    assert stream.said == [True] and not stream.lost
    assert stream.taken() == [] and stream.said == [True]


def test_a_mark_that_the_socket_refused_is_not_taken_for_sent() -> None:
    stream = Stream()
    stream.sender.end()
    stream.sender.conclude(stream.said.append)
    mark = stream.sender.take(0)
    assert mark is not None
    stream.sender.back(mark)
    assert stream.said == []
    assert stream.taken() == [Kind.END] and stream.said == [True]


def test_the_last_word_of_a_stream_that_broke_off_says_so() -> None:
    stream = Stream()
    stream.put(0)
    stream.sender.conclude(stream.said.append)
    assert stream.taken() == [0] and stream.said == [False]


def test_an_edge_that_wants_no_more_gets_the_last_word_at_once() -> None:
    stream = Stream()
    stream.put(0)
    stream.sender.end()
    stream.sender.conclude(stream.said.append)
    stream.sender.let_go()
    assert stream.said == [False] and stream.taken() == []


def test_what_the_edge_did_not_take_in_time_is_told_with_its_track() -> None:
    stream = Stream()
    stream.put(0, WINDOW_BYTES)
    stream.put(40)
    assert stream.taken() == [0]
    assert stream.taken(1 << 62) == [] and stream.lost == [(0, "credit")]
