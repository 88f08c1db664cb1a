"""The threads of a library are known by who started them, and are waited for."""

from __future__ import annotations

import sys
import threading
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from streamgen.encode import crew
from streamgen.encode.crew import Crew
from streamgen.encode.ffmpeg import SvtAv1
from streamgen.encode.rungs import Encoding, PictureFormat, Rung, plan_rungs
from streamgen.protocols import Mode
from streamgen.testing import picture

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only there /proc tells of threads")


def started(gate: threading.Event, number: int) -> list[threading.Thread]:
    threads = [threading.Thread(target=gate.wait, daemon=True) for _ in range(number)]
    for thread in threads:
        thread.start()
    return threads


def called() -> str:
    return Path(f"/proc/self/task/{threading.get_native_id()}/comm").read_text()


def test_a_crew_is_whoever_was_started_within_and_nobody_else() -> None:
    gate, name = threading.Event(), called()
    first, second = Crew(), Crew()
    others = started(gate, 2)
    with first.hired():
        three = started(gate, 3)
    others += started(gate, 1)
    with second.hired():
        two = started(gate, 2)
    assert called() == name
    assert set(first.threads) == {thread.native_id for thread in three}
    assert set(second.threads) == {thread.native_id for thread in two}
    gate.set()
    for thread in [*others, *three, *two]:
        thread.join()
    first.rest()  # they are gone, and nobody waits for them


def test_rest_waits_for_a_thread_that_runs_and_for_none_that_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(crew, "TASKS", tmp_path)
    one = Crew()
    one.threads = (7, 8)
    for thread, state in (7, "S"), (8, "R"):
        (tmp_path / str(thread)).mkdir()
        (tmp_path / str(thread) / "stat").write_text(f"{thread} (a (name) R) {state} 1 2 3")
    rested = threading.Event()

    def rest() -> None:
        one.rest()
        rested.set()

    waiting = threading.Thread(target=rest, daemon=True)
    waiting.start()
    assert not rested.wait(0.1)
    asleep = tmp_path / "asleep"
    asleep.write_text("8 (a (name) R) S 1 2 3")
    asleep.replace(tmp_path / "8" / "stat")  # at once: it is being read
    assert rested.wait(10)
    waiting.join()


@pytest.mark.parametrize("mode", list(Mode))
def test_svt_av1_is_at_rest_whenever_it_is_given_a_picture(
    mode: Mode, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else it may lose references, and wait for them for ever."""
    plan = plan_rungs([Rung(height=64, bitrate=100_000)], 64, 64, sar=Fraction(1))
    shape = PictureFormat(64, 64, time_base=Fraction(1, 25))
    encoder = SvtAv1(plan.rungs[0], shape, Encoding(preset="ultrafast"), mode=mode, threads=2)
    crew_of: Any = encoder._crew
    assert len(crew_of.threads) > 8
    codec: Any = encoder._codec
    given = codec._packets
    working: list[int] = []

    def seen(picture: Any) -> Any:
        working.extend(one for one in crew_of.threads if not crew._sleeps(one))
        return given(picture)

    monkeypatch.setattr(codec, "_packets", seen)
    frames = [replace(picture(64, 64, n), pts=n, time_base=Fraction(1, 25)) for n in range(40)]
    packets = [packet for frame in frames for packet in encoder.encode(frame)]
    assert len([*packets, *encoder.flush()]) == len(frames)
    assert not working
