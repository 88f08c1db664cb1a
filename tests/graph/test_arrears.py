"""Viewers wait for pictures that are owed as long as that comes to an end."""

from __future__ import annotations

from streamgen.graph.arrears import LONGEST_NS, LOOKED_NS, Arrears
from tests.graph.marks import frames

MS = 1_000_000


def patience_ms(took_ms: int) -> int | None:
    """When a stream of 25 pictures a second is live again, each of them taking so long; None: it
    was not given up by its last."""
    arrears = Arrears()
    for number, frame in enumerate(frames(200, step=40)):
        now_ms = number * took_ms
        if not arrears.patient(frame, now_ms * MS):
            assert arrears.over and not arrears.patient(frame, 0)
            return now_ms
    return None


def test_what_is_much_faster_than_the_stream_is_waited_for() -> None:
    assert patience_ms(5) is None


def test_nobody_waits_for_longer_than_two_seconds() -> None:
    assert patience_ms(35) == LONGEST_NS // MS + 30


def test_what_is_no_faster_than_the_stream_is_given_up_sooner() -> None:
    assert patience_ms(40) == patience_ms(80) == LOOKED_NS // MS + 40
