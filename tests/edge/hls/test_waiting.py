"""Requests wait for what they ask for, wake together, and never wait too long."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import pytest

from streamgen.deliver.live import LivePackager
from streamgen.media.packet import Packet
from streamgen_edge.hls import HlsApp, Limits, app, hls_app
from tests.deliver.live_packets import mixed
from tests.deliver.live_trace import read

from .asking import Answer, ask
from .conftest import SESSION, Line, everybody, packaged

TOP = "/hls/cam/index.m3u8"
RUNG = f"/hls/cam/{SESSION}/180p"
Ask = Callable[..., Coroutine[Any, Any, Answer]]


@pytest.fixture
def packager(lines: tuple[Line, ...]) -> LivePackager:
    """Ten seconds of a stream: segment 10 is growing and has parts 0 and 1."""
    return packaged(lines, until_s=9.7)


@pytest.fixture
def rest(lines: tuple[Line, ...]) -> list[Packet]:
    """What comes after these ten seconds."""
    return [p for p in mixed(*(packets for _, packets in lines)) if p.time_s >= 9.7]


@pytest.fixture
def served(packager: LivePackager) -> HlsApp:
    return hls_app({"cam": packager}, everybody)


def get(app_: HlsApp, path: str, query: str = "", **more: str) -> Answer:
    return asyncio.run(ask(app_, path, query, **more))


def written_later(
    packager: LivePackager, packets: Sequence[Packet], requests: Callable[[], Sequence[Any]]
) -> list[Answer]:
    """Answers to requests that must wait until `packets` are written."""

    async def run() -> list[Answer]:
        tasks = [asyncio.create_task(request) for request in requests()]
        await asyncio.sleep(0.05)
        waiting = [task for task in tasks if not task.done()]
        assert len(waiting) == len(tasks), "answered too soon"
        for packet in packets:
            packager.write(packet)
        done, late = await asyncio.wait(tasks, timeout=0.5)
        assert not late, "not woken"
        assert len(done) == len(tasks)
        return [task.result() for task in tasks]

    return asyncio.run(run())


@pytest.mark.parametrize(
    ("query", "newest"),
    [
        ("_HLS_msn=10&_HLS_part=2", (10, 2)),
        ("_HLS_msn=10", (11, 0)),
        ("_HLS_msn=11&_HLS_part=0", (11, 0)),
        ("_HLS_msn=11&_HLS_part=1", (11, 1)),
    ],
)
def test_a_reload_waits_for_what_it_asks_for(
    served: HlsApp,
    packager: LivePackager,
    rest: list[Packet],
    query: str,
    newest: tuple[int, int],
) -> None:
    until_s = {(10, 2): 10.1, (11, 0): 10.5, (11, 1): 10.8}[newest]
    packets = [packet for packet in rest if packet.time_s < until_s]
    (answer,) = written_later(packager, packets, lambda: [ask(served, f"{RUNG}/index.m3u8", query)])
    assert read(answer.text).newest >= newest


def test_the_part_of_the_preload_hint_is_held_until_it_exists(
    served: HlsApp, packager: LivePackager, rest: list[Packet]
) -> None:
    hint = read(get(served, f"{RUNG}/index.m3u8").text).hints[0]["URI"]
    assert hint == "10.2.m4s"
    packets = [packet for packet in rest if packet.time_s < 10.4]
    first, second, segment = written_later(
        packager,
        packets,
        lambda: [ask(served, f"{RUNG}/{uri}") for uri in (hint, "11.0.m4s", "10.m4s")],
    )
    assert first.status == second.status == segment.status == 200
    assert segment.body.endswith(first.body)
    assert second.body == get(served, f"{RUNG}/11.0.m4s").body


def test_a_hinted_part_that_is_never_made_is_not_found_as_soon_as_that_is_known(
    served: HlsApp, packager: LivePackager
) -> None:
    async def run() -> Answer:
        task = asyncio.create_task(ask(served, f"{RUNG}/11.0.m4s"))
        await asyncio.sleep(0.05)
        assert not task.done()
        packager.drop("video/180p")
        return await asyncio.wait_for(task, 0.5)

    assert asyncio.run(run()).status == 404


def test_three_hundred_reloads_wake_together_and_share_one_text(
    served: HlsApp, packager: LivePackager, rest: list[Packet]
) -> None:
    packets = [packet for packet in rest if packet.time_s < 10.1]
    answers = written_later(
        packager,
        packets,
        lambda: [ask(served, f"{RUNG}/index.m3u8", "_HLS_msn=10&_HLS_part=2") for _ in range(300)],
    )
    assert {answer.body for answer in answers} == {answers[0].body}
    page = packager.page("180p", skip=False)
    assert page is packager.page("180p", skip=False)


def test_the_end_of_the_stream_wakes_everybody(served: HlsApp, packager: LivePackager) -> None:
    async def run() -> list[Answer]:
        paths = [("index.m3u8", "_HLS_msn=11"), ("10.2.m4s", ""), ("11.0.m4s", "")]
        tasks = [asyncio.create_task(ask(served, f"{RUNG}/{p}", q)) for p, q in paths]
        await asyncio.sleep(0.05)
        packager.end()
        return await asyncio.wait_for(asyncio.gather(*tasks), 0.5)

    playlist, part, missing = asyncio.run(run())
    assert "#EXT-X-ENDLIST" in playlist.text
    assert "PRELOAD-HINT" not in playlist.text
    assert (part.status, missing.status) == (200, 404)
    assert get(served, f"{RUNG}/index.m3u8", "_HLS_msn=9999").status == 200


def test_what_does_not_come_in_three_target_durations_is_unavailable(
    served: HlsApp,
) -> None:
    async def run() -> list[Answer]:
        paths = [("index.m3u8", "_HLS_msn=10&_HLS_part=2"), ("10.2.m4s", "")]
        return await asyncio.gather(*(ask(served, f"{RUNG}/{p}", q) for p, q in paths))

    began = time.monotonic()
    for answer in asyncio.run(run()):
        assert answer.status == 503
        assert answer.headers["retry-after"] == "1"
        assert answer.headers["cache-control"] == "no-store"
    assert 2.9 < time.monotonic() - began < 4


def test_playlists_are_held_until_there_is_a_full_segment(lines: tuple[Line, ...]) -> None:
    packager = packaged(lines)
    served = hls_app({"cam": packager}, everybody)
    packets = [p for p in mixed(*(packets for _, packets in lines)) if p.time_s < 0.6]
    answers = written_later(
        packager,
        packets,
        lambda: [
            ask(served, TOP),
            ask(served, f"{RUNG}/index.m3u8"),
            ask(served, f"{RUNG}/index.m3u8", "_HLS_msn=0&_HLS_part=0"),
        ],
    )
    assert [answer.status for answer in answers] == [200] * 3
    assert "90p" in answers[0].text
    assert all(read(answer.text).segments[0].complete for answer in answers[1:])


def test_without_a_full_segment_players_are_asked_to_come_back(
    lines: tuple[Line, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app, "FIRST_SEGMENT_S", 0.1)
    served = hls_app({"cam": packaged(lines, until_s=0.4)}, everybody)
    for path in (TOP, f"{RUNG}/index.m3u8"):
        answer = get(served, path)
        assert answer.status == 503
        assert answer.headers["retry-after"] == "1"


def test_too_many_waiting_requests_are_turned_away(packager: LivePackager) -> None:
    served = hls_app({"cam": packager}, everybody, limits=Limits(held=5))

    async def run() -> list[int]:
        asked = (ask(served, f"{RUNG}/index.m3u8", "_HLS_msn=11") for _ in range(9))
        tasks = [asyncio.create_task(one) for one in asked]
        await asyncio.sleep(0.05)
        statuses = [task.result().status for task in tasks if task.done()]
        packager.end()
        await asyncio.gather(*tasks)
        return statuses

    assert asyncio.run(run()) == [503] * 4


def test_ten_thousand_who_wait_are_answered_when_the_stream_ends(packager: LivePackager) -> None:
    served = hls_app({"cam": packager}, everybody, limits=Limits(held=9000))

    async def run() -> tuple[list[int], float]:
        asked = (ask(served, f"{RUNG}/index.m3u8", "_HLS_msn=11") for _ in range(10_000))
        tasks = [asyncio.create_task(one) for one in asked]
        await asyncio.sleep(0)
        assert served._room(packager).held == 9000
        began = time.monotonic()
        packager.end()
        answers = await asyncio.gather(*tasks)
        assert all("#EXT-X-ENDLIST" in answer.text for answer in answers if answer.status == 200)
        assert served._room(packager).held == 0
        return [answer.status for answer in answers], time.monotonic() - began

    statuses, took = asyncio.run(run())
    assert (statuses.count(200), statuses.count(503)) == (9000, 1000)
    assert took < 3


def test_a_waiting_request_that_is_cancelled_leaves_nothing_behind(
    served: HlsApp, packager: LivePackager, rest: list[Packet]
) -> None:
    async def run() -> int:
        task = asyncio.create_task(ask(served, f"{RUNG}/index.m3u8", "_HLS_msn=11"))
        await asyncio.sleep(0.05)
        task.cancel()
        await asyncio.wait([task])
        for packet in rest[:100]:
            packager.write(packet)
        return served._room(packager).held

    assert asyncio.run(run()) == 0
