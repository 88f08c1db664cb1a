"""What is left to tell: bounded, in order, and not for ever."""

from __future__ import annotations

import asyncio
from collections import Counter

from streamgen_edge.hooks.event import Event, Kind
from streamgen_edge.hooks.outbox import KEPT_S, MOST, Outbox, Waiting


class Trial(Outbox):
    """One that remembers what was lost."""

    def __init__(self, most: int = MOST) -> None:
        self.lost: Counter[str] = Counter()
        super().__init__(lambda what, number, reason: self.lost.update({what: number}), most)

    def tell(self, stream: str, *numbers: int, at_s: float = 0.0) -> None:
        for number in numbers:
            self.put(Event.of(Kind.END, f"{stream}{number}", 0, stream, "s", {}), at_s)

    def one(self, now_s: float = 0.0) -> Waiting | None:
        return asyncio.run(self.take(now_s))

    def taken(self, now_s: float = 0.0) -> list[str]:
        """All that may be tried, and is heard."""
        found = []
        while (one := self.one(now_s)) is not None:
            found.append(one.event.id)
            asyncio.run(self.settle(one))
        return found


def test_a_full_outbox_drops_the_oldest() -> None:
    outbox = Trial(most=3)
    outbox.tell("a", *range(5))
    assert outbox.lost == {"dropped": 2}
    assert outbox.taken() == ["a2", "a3", "a4"] and len(outbox) == 0


def test_the_default_holds_a_thousand() -> None:
    outbox = Trial()
    outbox.tell("a", *range(1001))
    assert outbox.lost == {"dropped": 1} and len(outbox) == outbox.fleeting == 1000


def test_one_that_was_tried_waits_at_its_place_and_only_its_stream_with_it() -> None:
    outbox = Trial()
    for number in (1, 2):
        for stream in ("a", "b"):
            outbox.tell(stream, number)
    first = outbox.one()
    assert first is not None and first.event.id == "a1" and len(outbox) == 4
    asyncio.run(outbox.put_back(first, 5.0))
    assert outbox.taken(1.0) == ["b1", "b2"]
    assert outbox.due_s() == 5.0 and len(outbox) == 2
    assert outbox.taken(5.0) == ["a1", "a2"]
    assert outbox.due_s() == float("inf") and len(outbox) == 0


def test_one_that_comes_back_to_a_full_outbox_is_the_oldest_there() -> None:
    outbox = Trial(most=2)
    outbox.tell("a", 0, 1)
    first = outbox.one()
    assert first is not None
    outbox.tell("a", 2)
    asyncio.run(outbox.put_back(first, 0.0))
    assert outbox.lost == {"dropped": 1}
    assert outbox.taken() == ["a1", "a2"]


def test_an_event_is_given_up_after_ten_minutes() -> None:
    outbox = Trial()
    outbox.tell("a", 1)
    outbox.tell("a", 2, at_s=10.0)
    outbox.tell("a", 3, at_s=2 * KEPT_S)
    assert outbox.taken(KEPT_S + 1) == ["a2", "a3"]
    assert outbox.lost == {"failed": 1}


def test_in_a_hurry_nothing_waits_for_its_time() -> None:
    outbox = Trial()
    outbox.tell("a", 1)
    one = outbox.one()
    assert one is not None
    asyncio.run(outbox.put_back(one, 100.0))
    assert outbox.one() is None
    outbox.hurry()
    assert outbox.taken() == ["a1"]
