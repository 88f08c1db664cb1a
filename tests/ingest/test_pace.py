"""`Paced`: packets come when they are due, over and over where that is asked for."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import pytest

from streamgen.errors import ConfigError
from streamgen.ingest.container import open_source
from streamgen.ingest.pace import Paced
from streamgen.media.packet import Packet
from streamgen.protocols import Source
from streamgen.telemetry import MonotonicClock
from streamgen.testing import PacketSource, synthetic_clip

TB = Fraction(1, 1000)


def at(*times_ms: int, track: str = "video/0") -> PacketSource:
    return PacketSource([Packet(b"", t, t, 20, TB, True, track) for t in times_ms])


def played(source: Paced) -> list[tuple[int | None, float]]:
    """Decoding time in ms, and seconds after the first packet, of each."""
    begun = time.monotonic()
    return [(packet.dts, time.monotonic() - begun) for packet in source.packets()]


def test_packets_come_at_their_own_speed() -> None:
    seen = played(Paced(at(500, 520, 600, 700), MonotonicClock()))
    assert [dts for dts, _ in seen] == [500, 520, 600, 700]
    for (_, came), due in zip(seen, (0, 0.02, 0.1, 0.2), strict=True):
        assert due - 0.001 <= came < due + 0.5


def test_after_a_late_packet_the_others_keep_their_times() -> None:
    source = Paced(at(0, 100, 110, 300), MonotonicClock())
    begun = time.monotonic()
    came = []
    for packet in source.packets():
        came.append(time.monotonic() - begun)
        if packet.dts == 100:
            time.sleep(0.1)
    assert came[2] - came[1] < 0.2
    assert came[3] >= 0.299


@pytest.mark.parametrize("times", [(0, 10, 900_000, 900_010), (900_000, 900_010, 0, 10)])
def test_a_leap_in_time_is_not_waited_for(times: Sequence[int]) -> None:
    seen = played(Paced(at(*times), MonotonicClock()))
    assert len(seen) == 4
    assert seen[-1][1] < 1


def test_a_loop_goes_on_where_the_last_one_ended() -> None:
    opened: list[PacketSource] = []

    def again() -> Source:
        opened.append(at(500, 520))
        return opened[-1]

    source = Paced(at(500, 520), MonotonicClock(), again=again, loops=3)
    assert [dts for dts, _ in played(source)] == [500, 520, 540, 560, 580, 600]
    assert len(opened) == 2


def test_a_real_clip_loops_without_a_break_in_its_times(tmp_path: Path) -> None:
    clip = synthetic_clip(tmp_path / "a.mp4", width=64, height=48, frames=5, b_frames=2)

    def again() -> Source:
        return open_source(str(clip))

    source = Paced(again(), MonotonicClock(), again=again, loops=2)
    video = [packet for packet in source.packets() if packet.track == "video/0"]
    source.close()
    shown = sorted(packet.time_s for packet in video)
    assert len(video) == 10
    assert all(b - a > 0.035 for a, b in pairwise(shown))
    assert shown[-1] == pytest.approx(0.36, abs=0.1)


def test_cancelling_ends_a_wait_at_once() -> None:
    inner = at(0, 4000)
    source = Paced(inner, MonotonicClock())
    begun = time.monotonic()
    threading.Timer(0.05, source.cancel).start()
    assert len(played(source)) == 1
    assert time.monotonic() - begun < 2


def test_a_source_that_cannot_be_opened_again_is_not_looped() -> None:
    with pytest.raises(ConfigError, match="plays once"):
        Paced(at(0), MonotonicClock(), loops=0)
