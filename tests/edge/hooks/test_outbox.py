"""What is left to tell: bounded, in order, and not for ever."""

from __future__ import annotations

from streamgen_edge.hooks.event import Event, Kind
from streamgen_edge.hooks.outbox import KEPT_S, Outbox


def event(stream: str, number: int = 0) -> Event:
    return Event(Kind.END, f"{stream}{number}", 0, stream, "s", {})


def taken(outbox: Outbox, now_s: float) -> list[str]:
    found = []
    while (one := outbox.take(now_s)) is not None:
        found.append(one.event.id)
    return found


def test_a_full_outbox_drops_the_oldest() -> None:
    outbox = Outbox(most=3)
    assert [outbox.put(event("a", number), 0.0) for number in range(5)] == [0, 0, 0, 1, 1]
    assert taken(outbox, 0.0) == ["a2", "a3", "a4"]


def test_the_default_holds_a_thousand() -> None:
    outbox = Outbox()
    assert sum(outbox.put(event("a", number), 0.0) for number in range(1001)) == 1
    assert len(outbox) == 1000


def test_one_that_was_tried_waits_at_its_place_and_only_its_stream_with_it() -> None:
    outbox = Outbox()
    for stream, number in (("a", 1), ("b", 1), ("a", 2), ("b", 2)):
        outbox.put(event(stream, number), 0.0)
    first = outbox.take(0.0)
    assert first is not None and first.event.id == "a1"
    assert outbox.put_back(first, 5.0) == 0
    assert taken(outbox, 1.0) == ["b1", "b2"]
    assert outbox.due_s() == 5.0
    assert taken(outbox, 5.0) == ["a1", "a2"]
    assert outbox.due_s() == float("inf")


def test_one_that_comes_back_to_a_full_outbox_is_the_oldest_there() -> None:
    outbox = Outbox(most=2)
    for number in range(2):
        outbox.put(event("a", number), 0.0)
    first = outbox.take(0.0)
    assert first is not None
    outbox.put(event("a", 2), 0.0)
    assert outbox.put_back(first, 0.0) == 1
    assert taken(outbox, 0.0) == ["a1", "a2"]


def test_an_event_is_given_up_after_ten_minutes() -> None:
    outbox = Outbox()
    outbox.put(event("a", 1), 0.0)
    outbox.put(event("a", 2), 10.0)
    assert outbox.expire(KEPT_S - 1) == 0
    assert outbox.expire(KEPT_S + 1) == 1
    assert taken(outbox, KEPT_S + 1) == ["a2"]
    assert outbox.expire(2 * KEPT_S) == 0


def test_in_a_hurry_nothing_waits_for_its_time() -> None:
    outbox = Outbox()
    outbox.put(event("a", 1), 0.0)
    one = outbox.take(0.0)
    assert one is not None
    outbox.put_back(one, 100.0)
    assert outbox.take(0.0) is None
    outbox.hurry()
    assert taken(outbox, 0.0) == ["a1"]
