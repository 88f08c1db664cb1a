"""With a store, what a service has to be told outlives who saw it, and no stream waits for it."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("h11", reason="h11 is not installed")
pytest.importorskip("sqlalchemy", reason="sqlalchemy is not installed")

from sqlalchemy import select

from streamgen.control.notices import Notice
from streamgen.control.store.late import LateStore
from streamgen.control.store.tables import outbox
from streamgen_edge.hooks.outbox import MOST
from tests.control.coordinator.test_processes import Locked
from tests.control.store.writing import wall_ms
from tests.edge.hooks.scene import LATER, SOON, Scene, bodies, kinds, scene
from tests.edge.outbound.servers import HOME, Behave, Service, answers, serving, silence
from tests.edge.webrtc.peers import looped

TELLING = Path(__file__).with_name("telling.py")


async def until(holds: Any) -> None:
    async with asyncio.timeout(60):
        while not holds():  # noqa: ASYNC110 - what happens is in another process's hands
            await asyncio.sleep(0.01)


@asynccontextmanager
async def telling(url: str, service: str, *streams: str) -> AsyncIterator[subprocess.Popen[bytes]]:
    """A process that has written these events; killed at the end."""
    line = [sys.executable, "-m", "tests.edge.hooks.telling", url, service, *streams]
    process = await asyncio.to_thread(subprocess.Popen, line, stdout=subprocess.PIPE)
    try:
        if streams:
            assert process.stdout is not None
            assert await asyncio.to_thread(process.stdout.readline) == b"written\n"
        yield process
    finally:
        process.kill()
        process.communicate()


async def stored(store: LateStore) -> dict[str, str]:
    """Ids of the events that wait, by stream."""
    async with (await store.opened()).database.reading() as connection:
        rows = await connection.execute(select(outbox.c.about, outbox.c.event))
        return {row.about: row.event for row in rows}


@asynccontextmanager
async def keeping(
    url: str, behave: Behave, waits_s: Sequence[float] = SOON, patience_s: float = 5.0
) -> AsyncIterator[tuple[Scene, Service, LateStore]]:
    """Hooks with one service, and a store."""
    async with (
        LateStore(url, wall_ms, patience_s=patience_s) as store,
        scene(behave, waits_s=waits_s, at_s=time.time(), store=store) as (made, service),
    ):
        yield made, service, store


async def forgotten(store: LateStore) -> None:
    """Nothing waits any more."""
    async with asyncio.timeout(60):
        while await stored(store):  # noqa: ASYNC110
            await asyncio.sleep(0.01)


@looped
async def test_what_a_killed_process_had_to_tell_another_tells_with_the_same_id(url: str) -> None:
    """One event is on its way when it is killed, one waits for that."""
    async with serving(silence) as service, LateStore(url, wall_ms) as store:
        async with telling(url, service.url, "tried", "waits") as first:
            await until(lambda: service.heard)
            first.kill()
            ids = await stored(store)
        tries = len(service.heard)
        assert ids.keys() == {"tried", "waits"}
        assert bodies(service)[0]["id"] == ids["tried"]
        service.behave = answers(204)
        async with telling(url, service.url):
            await forgotten(store)
        again = bodies(service)[tries:]
        assert sorted((one["stream"], one["id"]) for one in again) == sorted(ids.items())
        assert all(one["attempt"] > 1 for one in again if one["stream"] == "tried")


@looped
async def test_an_event_is_told_soon_and_leaves_nothing_behind(url: str) -> None:
    async with keeping(url, answers(204)) as (made, _, store):
        made.begin()
        made.end()
        await until(lambda: made.counted("sent") == 2)
        await forgotten(store)
        await until(lambda: made.facts()["left"] == 0)
        assert made.facts()["state"] == "idle"


@looped
async def test_one_that_fails_for_a_while_hears_all_in_order_and_each_try_is_numbered(
    url: str,
) -> None:
    async with keeping(url, answers(500, 408, 204)) as (made, service, _):
        made.begin()
        made.end()
        await until(lambda: made.counted("sent") == 2)
        assert [(b["event"], b["attempt"]) for b in bodies(service)] == [
            ("on_publish", 1), ("on_publish", 2), ("on_publish", 3), ("on_end", 1),
        ]  # fmt: skip
        assert made.counted("retried") == 2


@looped
async def test_what_may_be_over_soon_is_tried_seven_times_and_forgotten(url: str) -> None:
    async with keeping(url, answers(503)) as (made, service, store):
        made.begin()
        await until(lambda: made.counted("failed") == 1)
        assert [one["attempt"] for one in bodies(service)] == [1, 2, 3, 4, 5, 6, 7]
        await forgotten(store)


@looped
async def test_a_stream_that_moved_is_told_of_in_order_by_whichever_edge(url: str) -> None:
    """Its beginning waits for another try, so does its end, which another edge saw."""
    async with (
        serving(answers(500, 204)) as service,
        LateStore(url, wall_ms) as one,
        LateStore(url, wall_ms) as other,
    ):
        former, present = (Scene((1.0,), HOME, time.time(), store) for store in (one, other))
        former.use(one=service)
        former.begin()
        await until(lambda: former.counted("retried") == 1)
        present.use(one=service)
        present.hooks.went_on({"stream": "cam", "session": "abcdef"}, 1.0)
        present.end()
        await until(lambda: former.counted("sent") + present.counted("sent") == 2)
        assert kinds(service) == [("cam", "on_publish"), ("cam", "on_publish"), ("cam", "on_end")]
        for made in (former, present):
            await made.hooks.finished(0.0)


@looped
async def test_while_the_store_is_away_nobody_waits_and_what_is_too_much_is_counted(
    url: str, request: pytest.FixtureRequest
) -> None:
    lite = url.startswith("sqlite:///")
    server: Any = Locked(url.removeprefix("sqlite:///")) if lite else None
    server = server or request.getfixturevalue("postgres")
    async with keeping(url, answers(204), patience_s=1.0) as (made, service, store):
        made.begin("first")
        await until(lambda: made.counted("sent") == 1)
        await forgotten(store)
        await until(lambda: made.facts()["left"] == 0)
        await asyncio.to_thread(server.stop)
        try:
            for number in range(MOST + 5):
                made.begin(f"n{number}")  # does not wait: no other task runs here
            assert made.counted("unstored") == 5 and made.facts()["left"] == MOST
            assert len(service.heard) == 1
        finally:
            await asyncio.to_thread(server.start)
        await until(lambda: len(service.heard) > 1)
        assert bodies(service)[1]["stream"] == "n5"


@looped
async def test_at_the_end_what_was_not_heard_stays_for_the_next(
    url: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "streamgen.edge.hooks")
    async with keeping(url, answers(500), waits_s=LATER) as (made, service, store):
        made.begin("bad")
        await until(lambda: made.counted("retried") == 1)
        service.behave = answers(204)
        made.end("bad")  # its beginning is not told yet
        made.begin("good")
        await made.hooks.finished(30.0)
        assert kinds(service) == [("bad", "on_publish"), ("good", "on_publish")]
        assert "hook one ends, events left in the store: 2" in caplog.text
        assert "not told" not in caplog.text
        assert (await stored(store)).keys() == {"bad"}


@looped
async def test_for_a_database_that_comes_later_events_wait(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "later"
    folder.mkdir()
    caplog.set_level(logging.INFO, "streamgen.edge.hooks")
    url = f"sqlite:///{folder / 'state.db'}"
    async with keeping(url, answers(204)) as (made, service, _):
        folder.rmdir()
        made.begin()
        await until(lambda: "events wait for the store" in caplog.text)
        assert made.facts()["left"] == 1 and service.heard == []
        folder.mkdir()
        await until(lambda: made.counted("sent") == 1)
        await until(lambda: "the store answers again" in caplog.text)


@looped
async def test_what_is_no_event_of_ours_any_more_is_told_as_it_was_written(url: str) -> None:
    """Of another version of streamgen, say."""
    async with keeping(url, answers(204)) as (_, service, store):
        body = {"event": "on_more", "id": "e", "attempt": 0, "stream": "cam", "new": True}
        await (await store.opened()).write(Notice("one", "e", "cam", wall_ms(), body))
        await until(lambda: service.heard)
        assert bodies(service) == [body | {"attempt": 1}]
