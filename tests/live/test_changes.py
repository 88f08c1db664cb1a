"""What changes in the middle of a GOP, at a publisher that goes on all the same."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import av
import numpy as np
import pytest

from tests.decode import sei
from tests.deliver.live_trace import Trace
from tests.live import tapes
from tests.live.playlists import renditions
from tests.live.raw import Outcome, published
from tests.live.serving import Server
from tests.live.tapes import AUDIO, VIDEO, Tag, Tape, recorded
from tests.live.watching import View, until, watched

STEPS_MS = [40] * 40 + [20] * 80 + [80] * 20
"""Between pictures: 1.6 seconds each of 25, of 50 and of 12.5 a second."""
LONGEST_S = 1.0


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as one:
        yield one


def sent(pool: ThreadPoolExecutor, server: Server, name: str, tape: Tape) -> Future[Outcome]:
    """A tape on its way, in real time."""
    return pool.submit(lambda: asyncio.run(published(server.rtmp, name, tape)))


def seen(server: Server, name: str, sending: Future[Outcome]) -> tuple[View, dict[str, Trace]]:
    """What a WHEP viewer gets while a tape is sent, and what all playlists say meanwhile."""
    places = server.until(lambda: len(p := renditions(server, name)) >= 2 and p, "playlists")
    traces = {place: Trace(len(places) - 1) for place in places}

    def look() -> bool:
        for place, trace in traces.items():
            status, text = server.get(place)
            assert status == 200
            trace.poll(text)
        return sending.done()

    async def scene(_: View) -> None:
        await until(look, "end of the tape")

    return watched(server, f"/whep/{name}", scene), traces


def played(server: Server, name: str) -> list[Any]:
    """All pictures of the last half minute, as an HLS player gets them."""
    with av.open(f"http://127.0.0.1:{server.http}/hls/{name}/index.m3u8") as player:
        return list(player.decode(player.streams.video[0]))


def quickened() -> list[Tag]:
    """One GOP whose rate changes twice, told by parameter sets in the band and outside it."""
    plain = recorded(seconds=len(STEPS_MS) / 25, gop=1000)
    told = {40: recorded(rate=50, seconds=0.1), 120: recorded(rate=12, seconds=0.2)}
    out = [tag for tag in plain if tag.kind == AUDIO and tag.at_ms <= sum(STEPS_MS)]
    out += [tag for tag in plain if tag.kind != AUDIO and tag.config]
    at_ms = 0
    for number, (tag, step) in enumerate(zip(tapes.pictures(plain), STEPS_MS, strict=True)):
        if number in told:
            out += [replace(one, at_ms=at_ms) for one in tapes.configs(told[number])]
            sets = tapes.parameter_sets(told[number])
            tag = replace(tag, body=tapes.packed(tag.body[:5], [*sets, *tapes.units(tag.body)]))
        out.append(replace(tag, at_ms=at_ms))
        at_ms += step
    return sorted(out, key=lambda tag: tag.at_ms)


def test_a_frame_rate_that_changes_in_the_middle_of_a_gop_stops_nothing(
    server: Server, pool: ThreadPoolExecutor
) -> None:
    sending = sent(pool, server, "quickened", quickened())
    view, traces = seen(server, "quickened", sending)
    assert sending.result().closed == "" and view.monotonic
    assert view.longest_s < LONGEST_S, view.longest_s
    row = server.until(lambda: (r := server.stream("quickened"))["state"] == "ended" and r, "end")
    assert row["corrected"] == {} and row["takeovers"] == {}  # its times were right all along
    for place, trace in traces.items():
        assert trace.polls > 10 and len(trace.segments) >= 4, place
    times = [float(picture.pts * picture.time_base) for picture in played(server, "quickened")]
    assert len(times) > 0.95 * len(STEPS_MS)
    due = [at / 1000 for at in itertools.accumulate(STEPS_MS)][-1 - len(times) : -1]
    late_s = [at - when - times[-1] + due[-1] for at, when in zip(times, due, strict=True)]
    assert max(map(abs, late_s)) < 0.05, late_s


def test_a_camera_that_is_turned_stays_upright_for_all_viewers(
    server: Server, pool: ThreadPoolExecutor
) -> None:
    """It says so before each key frame, and in the middle of the second GOP that it is turned."""

    def said(number: int, tag: Tag) -> bytes:
        if number % 25 and number != 37:
            return tag.body
        message = sei.orientation(2 if number >= 37 else 1)
        return tapes.packed(tag.body[:5], [message, *tapes.units(tag.body)])

    tape = tapes.changed(recorded(seconds=3.6), VIDEO, said)
    sending = sent(pool, server, "turned", tape)
    view, _ = seen(server, "turned", sending)
    assert view.longest_s < LONGEST_S and view.monotonic
    row = server.until(lambda: (r := server.stream("turned"))["state"] == "ended" and r, "end")
    (rung,) = row["stats"]["rungs"]
    assert (rung["width"], rung["height"]) == (tapes.SIZE[1], tapes.SIZE[0])
    pictures = played(server, "turned")
    stored = tapes.moving(30, tapes.SIZE).to_ndarray(format="gray")
    first, last = (p.to_ndarray(format="gray").astype(int) for p in (pictures[20], pictures[-1]))
    assert np.abs(_slope(first) - _slope(np.rot90(stored))).max() < 0.3
    assert last[:30].mean() < 24 < last[50:80].mean()  # 16:9 between bars in 9:16
    assert row["takeovers"] == {}


def _slope(image: Any) -> Any:
    """Mean steps down and to the right, which tell how the picture lies."""
    return np.array([np.median(np.diff(image.astype(int), axis=axis)) for axis in (0, 1)])
