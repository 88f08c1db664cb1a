"""Whatever publishers send, the server lives, says what was wrong, and other streams play on."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections import deque
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.live.bad_pictures import FORMATS, PICTURES
from tests.live.bad_sounds import CLOCKS, SOUNDS
from tests.live.damage import Case
from tests.live.raw import Outcome, published
from tests.live.serving import Publisher, Server, needs_ffmpeg, undisturbed
from tests.live.tapes import Tape, recorded

pytestmark = needs_ffmpeg
TOGETHER = 12
"""Publishers at a time."""
GOOD_RATE = 15
MOST_GROWTH_MIB = 200
FLOOD = 10_000
"""Connections that come and say nothing."""
STAY = 1_500
"""Those that are kept; the server has closed the ones before."""
ADDRESSES = [f"127.0.{net}.{number}" for net in (0, 1) for number in range(1, 25)]
GROUPS = {"pictures": PICTURES, "formats": FORMATS, "sounds": SOUNDS, "clocks": CLOCKS}


@pytest.fixture(scope="module")
def busy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with one good stream that plays all the time."""
    server = Server(tmp_path_factory.mktemp("busy"), "--pipeline", "transcode")
    good = Publisher(server, "good", size="160x90", rate=GOOD_RATE, gop=GOOD_RATE, seconds=600)
    try:
        server.until(lambda: server.frames_out("good") > 5, "the good stream")
        yield server
    finally:
        good.close()
        server.stop()


def resident_mib(pids: Mapping[str, int]) -> dict[str, int]:
    page = 4096
    return {
        name: int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * page >> 20
        for name, pid in pids.items()
    }


@pytest.mark.parametrize("group", GROUPS)
def test_bad_publishers_disturb_nobody(busy: Server, group: str) -> None:
    cases = list(GROUPS[group].items())
    memory = resident_mib(busy.pids())
    wrong: list[str] = []
    for first in range(0, len(cases), TOGETHER):
        some = [(f"{group}-{first + n}", *case) for n, case in enumerate(cases[first:][:TOGETHER])]
        with undisturbed(busy, "good", GOOD_RATE):
            outcomes = asyncio.run(together(busy, some))
            for (name, what, case), outcome in zip(some, outcomes, strict=True):
                row = busy.until(lambda name=name: ended(busy.stream(name)), f"end of {name}")
                said = verdict(case, row, outcome)
                wrong += [f"{what}: {said}"] if said else []
    assert not wrong, "\n".join(wrong)
    for name, mib in resident_mib(busy.pids()).items():
        assert mib - memory[name] < MOST_GROWTH_MIB, name


async def together(server: Server, some: list[tuple[str, str, Case]]) -> list[Outcome]:
    made = [(name, case.tape(), case.plays) for name, _, case in some]
    return await asyncio.gather(*(until_shown(server, *one) for one in made))


async def until_shown(server: Server, name: str, tape: Tape, pictures: int) -> Outcome:
    """Publish a tape, and again on a machine that is too busy to begin in time."""

    async def enough() -> bool:
        return await asyncio.to_thread(server.frames_out, name) >= pictures

    return await published(server.rtmp, name, tape, enough=enough)


def ended(row: dict[str, Any]) -> dict[str, Any] | None:
    return row if row.get("state") == "ended" else None


def verdict(case: Case, row: Mapping[str, Any], outcome: Outcome) -> str:
    """What is not as it should be; empty: nothing."""
    if not outcome.let_in:
        return "was not let in"
    shown = row["stats"]["frames_out"]
    if shown < case.plays:
        counted = {key: row[key] for key in ("error", "left_out", "unused", "corrected", "stats")}
        return f"{shown} pictures came out: {outcome}, {counted}"
    if case.plays and row["error"]:
        return f"failed: {row['error']}"
    stats = row["stats"]
    if stats["frames_in"] != shown + sum(stats["dropped"].values()):
        return f"nobody can say what became of some pictures: {stats}"
    if case.left_out and not row["left_out"].get(case.left_out):
        return f"left out: {row['left_out']}"
    counts = [row["corrected"], row["left_out"], stats.get("corrected", {})]
    if case.mended and not any(case.mended in count for count in counts):
        return f"of its times {counts} were counted"
    if case.closed not in outcome.closed or (case.closed and not outcome.closed):
        return f"was told '{outcome.closed}'"
    return explained(case, row, outcome)


def explained(case: Case, row: Mapping[str, Any], outcome: Outcome) -> str:
    """A stream that does not play has its reason somewhere."""
    if case.plays or outcome.closed or row["error"]:
        return ""
    told = [row["left_out"], row["unused"], row["stats"].get("lost"), row["stats"]["dropped"]]
    return "" if any(told) else "nobody can say why it did not play"


def test_a_flood_of_idle_connections_keeps_no_publisher_out_and_leaves_nothing(
    busy: Server,
) -> None:
    pids, memory = busy.pids(), resident_mib(busy.pids())
    descriptors = Path(f"/proc/{pids['edge']}/fd")
    before = len(os.listdir(descriptors))
    began = time.monotonic()
    with undisturbed(busy, "good", GOOD_RATE):
        outcomes = asyncio.run(through_a_flood(busy))
        assert [(one.let_in, one.closed) for one in outcomes] == [(True, "")] * len(outcomes)
        for number in range(len(outcomes)):
            busy.until(lambda n=number: ended(busy.stream(f"flooded-{n}")), "an end")
            assert busy.frames_out(f"flooded-{number}") > GOOD_RATE
    busy.until(lambda: len(os.listdir(descriptors)) <= before + 4, "descriptors", 10)
    assert resident_mib(pids)["edge"] - memory["edge"] < MOST_GROWTH_MIB / 4
    evicted = busy.get("/metrics")[1]
    assert 'streamgen_rtmp_evicted_total{reason="connections",' in evicted
    assert 'streamgen_rtmp_evicted_total{reason="connections_per_address",' in evicted
    assert busy.log().count("made room") < 4 * (time.monotonic() - began + 1)


async def through_a_flood(server: Server) -> list[Outcome]:
    """What becomes of publishers that come while others pour in."""
    pouring = asyncio.create_task(poured(server.rtmp))
    tape = recorded(seconds=2.0)
    publishers = []
    for number in range(2):
        await asyncio.sleep(0.5)
        one = until_shown(server, f"flooded-{number}", tape, GOOD_RATE + 1)
        publishers.append(asyncio.create_task(one))
    outcomes = await asyncio.gather(*publishers)
    await pouring
    return outcomes


async def poured(port: int) -> None:
    """Half from the publishers' own address, half from others."""
    loop = asyncio.get_running_loop()
    stay: deque[socket.socket] = deque()
    gate = asyncio.Semaphore(64)

    async def come(number: int) -> None:
        sock = socket.socket()
        sock.setblocking(False)
        sock.bind((ADDRESSES[number % len(ADDRESSES)] if number % 2 else "127.0.0.1", 0))
        async with gate:
            await loop.sock_connect(sock, ("127.0.0.1", port))
        stay.append(sock)
        if len(stay) > STAY:
            stay.popleft().close()

    for first in range(0, FLOOD, 500):
        await asyncio.gather(*(come(first + number) for number in range(500)))
    for sock in stay:
        sock.close()
