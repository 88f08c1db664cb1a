"""What the API wants recorded, beside what the configuration says."""

from __future__ import annotations

from streamgen_edge.recording.recording import MOST_ASKED, Recordings


def test_the_api_s_wish_stands_above_the_configuration_and_the_oldest_makes_room() -> None:
    recordings = Recordings()
    assert recordings.asked("a", configured=True) and not recordings.asked("a", configured=False)
    recordings.ask("a", False)
    assert not recordings.asked("a", configured=True)
    recordings.ask("a", True)
    assert recordings.asked("a", configured=False)
    for number in range(MOST_ASKED):
        recordings.ask(f"n{number}", True)
    assert not recordings.asked("a", configured=False)
    assert recordings.asked("n0", configured=False)
