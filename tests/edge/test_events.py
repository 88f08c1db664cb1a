"""Events: all at once and at each change, nothing piled up, and none for who may not listen."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Hashable
from contextlib import suppress
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="fastapi is not installed")

from fastapi import HTTPException

from streamgen_edge.events import BEAT_S, MOST, Events
from tests.edge.webrtc.peers import looped


class Shows:
    """Streams that do as they are told (`events.Seen`)."""

    def __init__(self) -> None:
        self.state = "waiting"
        self.over = False
        self.looks = 0

    def states(self) -> Hashable:
        return self.state

    def rows(self) -> list[dict[str, Any]]:
        self.looks += 1
        return [{"name": "me", "state": self.state}]

    def row(self, name: str) -> dict[str, Any] | None:
        return {"name": name, "stats": {}} if name == "me" else None


class Hours:
    """A clock that goes on only while somebody waits for it."""

    def __init__(self) -> None:
        self.now_s = 0.0

    async def pause(self, seconds: float) -> None:
        self.now_s += seconds
        await asyncio.sleep(0)


async def anyone() -> None:
    return


def listening(shows: Shows, hours: Hours, watched: str | None = None) -> AsyncIterator[bytes]:
    return Events(shows, lambda: 5_000_000, lambda: hours.now_s, hours.pause).told(watched, anyone)


async def event(told: AsyncIterator[bytes]) -> tuple[str, dict[str, Any]]:
    text = (await anext(told)).decode()
    assert text.endswith("\n\n")
    kind, data = text.removesuffix("\n\n").split("\n")
    return kind.removeprefix("event: "), json.loads(data.removeprefix("data: "))


@looped
async def test_an_event_comes_every_second_and_at_once_when_a_state_changes() -> None:
    shows, hours = Shows(), Hours()
    told = listening(shows, hours, "me")
    assert await anext(told) == b"retry: 1000\n\n"
    kind, first = await event(told)
    assert (kind, first["unix_ms"], first["missed"]) == ("streams", 5, 0)
    assert first["streams"] == [{"name": "me", "state": "waiting"}]
    assert first["watched"] == {"name": "me", "stats": {}}
    await event(told)
    assert hours.now_s == pytest.approx(1.0)
    shows.state = "live"
    assert (await event(told))[1]["streams"][0]["state"] == "live"
    assert hours.now_s == pytest.approx(1.0 + BEAT_S)


@looped
async def test_of_a_stream_that_is_not_there_nothing_is_told() -> None:
    for watched in (None, "other"):
        told = listening(Shows(), Hours(), watched)
        await anext(told)
        assert (await event(told))[1]["watched"] is None


@looped
async def test_a_slow_listener_gets_what_holds_now_and_how_much_it_missed() -> None:
    shows, hours = Shows(), Hours()
    told = listening(shows, hours)
    await anext(told)
    await event(told)
    shows.state = "live"
    hours.now_s += 7.5  # it takes nothing meanwhile
    looks = shows.looks
    _, late = await event(told)
    assert late["missed"] == 7
    assert late["streams"][0]["state"] == "live"
    assert shows.looks == looks + 1, "nothing was made for it while it slept"


@looped
async def test_events_end_with_the_server_and_say_so() -> None:
    shows, hours = Shows(), Hours()
    told = listening(shows, hours)
    await anext(told)
    await event(told)
    shows.over = True
    assert (await event(told))[0] == "streams"
    assert await event(told) == ("end", {})
    with pytest.raises(StopAsyncIteration):
        await anext(told)


@looped
async def test_who_may_not_listen_any_more_is_told_and_left() -> None:
    asked = 0

    async def once() -> None:
        nonlocal asked
        asked += 1
        if asked > 1:
            raise HTTPException(403, "no more")

    hours = Hours()
    told = Events(Shows(), lambda: 0, lambda: hours.now_s, hours.pause).told(None, once)
    await anext(told)
    events = [await event(told) for _ in range(21)]
    assert events[-1] == ("refused", {"status": 403})
    assert hours.now_s == pytest.approx(20.0)
    with pytest.raises(StopAsyncIteration):
        await anext(told)


@looped
async def test_only_so_many_listen_and_one_that_leaves_makes_room() -> None:
    events = Events(Shows())
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        await asyncio.sleep(3600)
        raise AssertionError

    begun = asyncio.Event()

    async def send(message: Any) -> None:
        sent.append(message)
        if sum(one["type"] == "http.response.body" for one in sent) == MOST:
            begun.set()

    scope = {"type": "http", "asgi": {"spec_version": "2.3"}}
    tasks = [
        asyncio.create_task(events.answer(None, anyone)(scope, receive, send)) for _ in range(MOST)
    ]
    await begun.wait()
    assert dict(sent[0]["headers"])[b"content-type"].startswith(b"text/event-stream")
    with pytest.raises(HTTPException) as refused:
        events.answer(None, anyone)
    assert refused.value.status_code == 503
    for task in tasks:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
    assert events.listeners == 0
    events.answer(None, anyone)
