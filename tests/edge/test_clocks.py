"""A clock on the wall that steps by an hour while a stream is live moves nothing of it."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest

from streamgen.deliver.media_clock import MediaClock
from tests.edge.test_link import FakeWorker, until
from tests.edge.test_stream import Ends, run, seated

HOUR_NS = 3_600_000_000_000


def test_dates_in_playlists_come_from_one_look_at_the_wall(tmp_path: Path) -> None:
    async def test(ends: Ends, one: FakeWorker, two: FakeWorker) -> None:
        stream, looks = ends.stream, []

        def wall_ns() -> int:
            looks.append(len(looks) * HOUR_NS)
            return looks[-1]

        stream._wall_ns = wall_ns
        ends.picture(0, key=True)
        assert stream.tenure.attachment is not None
        there = stream.tenure.attachment.worker.name
        first, second = (one, two) if there == "one" else (two, one)
        await seated(first)
        await until(lambda: stream.viewing.packager)
        assert stream.viewing.packager is not None
        start = stream.viewing.packager.start
        stream.tenure.worker_lost()
        await seated(second)
        await until(lambda: stream.tenure.live)
        stream.leave(ends, explicit=False)
        stream.arrive(ends)
        ends.picture(90_000_000, key=True)
        assert stream.viewing.packager.start is start and looks == [0]

    run(tmp_path, test, "one", "two")


@pytest.mark.parametrize("step", [HOUR_NS, -HOUR_NS])
def test_reports_to_webrtc_viewers_go_on_as_time_does(step: int) -> None:
    now, wall = 0, 1_700_000_000_000_000_000
    clock = MediaClock(lambda: now, lambda: wall)
    clock.begin(0, Fraction(1, 90_000))
    before = clock.read(90_000)
    now, wall = now + 1_000_000_000, wall + step
    after = clock.read(90_000)
    assert before is not None and after is not None
    assert (after[0] - before[0], after[1] - before[1]) == (1 << 32, 90_000)
