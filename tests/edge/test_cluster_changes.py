"""Another pipeline for a stream of a cluster: the coordinator says whether there is room for it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from streamgen.control.coordinator.commands import Change, Move, Refuse
from streamgen.control.coordinator.events import StreamChanged
from streamgen.control.holdings import read
from streamgen.control.placement.resources import Cut, Resources, Subject
from streamgen_edge.cluster import seats
from tests.edge.test_cluster_seats import WORK, Scene, run, show, word
from tests.edge.test_link import FakeWorker, until
from tests.edge.test_stream import asked, pictures, seated

OTHER = {"name": "other"}
SUBJECT = Subject("other-1", 1280, 720, 30)
LARGER = replace(WORK, profile=replace(WORK.profile, name="other-720p30", subject=SUBJECT))
MEASURED = replace(LARGER, profile=replace(LARGER.profile, needs=(Resources(cpu_ms=900),)))
"""The same, as the coordinator plans it."""


class Changing(Scene):
    """A stream that runs on a worker and is to get another pipeline."""

    def __init__(self, link: Any) -> None:
        self.work = WORK
        super().__init__(link)

    async def runs(self, worker: FakeWorker) -> None:
        self.claim._described = lambda: self.work
        self.ends.picture(0, key=True)
        self.says(word("one", 5))
        message = await seated(worker)
        await until(lambda: self.ends.stream.tenure.live)
        await show(worker, message, 1)
        await until(lambda: self.ends.stream.viewing.frames)

    def change(self) -> None:
        self.work = LARGER
        self.ends.stream.use(OTHER)


def changing(folder: Path, test: Callable[..., Awaitable[None]]) -> None:
    async def changed(scene: Scene, one: FakeWorker, two: FakeWorker) -> None:
        mine = Changing(scene.ends.stream.tenure._link)
        await mine.runs(one)
        await test(mine, one, two)
        mine.ends.stream.end()

    run(folder, changed)


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """An edge that does nothing by itself while a coordinator leads."""
    monkeypatch.setattr(seats, "ANSWER_S", 3_600)


@pytest.mark.usefixtures("patient")
def test_it_is_opened_where_it_runs_once_the_coordinator_says_so(tmp_path: Path) -> None:
    async def test(scene: Changing, one: FakeWorker, two: FakeWorker) -> None:
        scene.change()
        assert scene.said[-1] == StreamChanged(LARGER)
        assert scene.ends.stream.tenure.replacement.renewing
        scene.ends.picture(40)
        await pictures(one, 2)  # what runs goes on; nothing is opened
        scene.says(Change(MEASURED, "one", 5, Cut.ENHANCEMENT))
        message, _ = await asked(one, "attach")
        assert message["pipeline"]["name"] == "other" and message["beside"]
        grant = replace(word("one", 5), work=MEASURED, cut=Cut.ENHANCEMENT)
        assert read(message["grant"]) == grant
        assert scene.claim.given_up == "enhancement"
        assert scene.seats.hello()[1].work == LARGER

    changing(tmp_path, test)


@pytest.mark.usefixtures("patient")
def test_it_is_opened_elsewhere_where_only_there_is_room(tmp_path: Path) -> None:
    async def test(scene: Changing, one: FakeWorker, two: FakeWorker) -> None:
        scene.change()
        scene.says(Move(MEASURED, "two", 6, "token-6", Cut.NOTHING, "one"))
        message, _ = await asked(two, "attach")
        assert message["pipeline"]["name"] == "other" and read(message["grant"]).epoch == 6
        assert read(message["grant"]).work == MEASURED
        scene.says(Refuse("x", "a later move came to nothing", None))
        assert scene.seats.hello()[1].work == LARGER

    changing(tmp_path, test)


def test_where_there_is_no_room_the_stream_goes_on_as_it_was(tmp_path: Path) -> None:
    async def test(scene: Changing, one: FakeWorker, two: FakeWorker) -> None:
        before = scene.ends.stream.pipeline
        scene.change()
        scene.work = WORK
        scene.says(Refuse("x", "unchanged: all nodes are full", None))
        stream = scene.ends.stream
        assert stream.pipeline == before and not stream.tenure.replacement.renewing
        assert "all nodes are full" in stream.error and scene.ends.over == []
        assert scene.seats.hello()[1].work == WORK
        scene.ends.picture(40)
        await pictures(one, 2)

    changing(tmp_path, test)


def test_one_that_cannot_be_opened_is_taken_back(tmp_path: Path) -> None:
    async def test(scene: Changing, one: FakeWorker, two: FakeWorker) -> None:
        scene.change()
        scene.says(Change(LARGER, "one", 5, Cut.NOTHING))
        message, _ = await asked(one, "attach")
        scene.work = WORK
        ids = {"stream": message["stream"], "term": message["term"]}
        await one.say(type="ended", **ids, error="no such network", stats=None)
        await until(lambda: scene.said[-1] == StreamChanged(WORK))
        assert "no such network" in scene.ends.stream.error
        scene.says(Change(WORK, "one", 5, Cut.NOTHING))  # nothing is opened for that
        assert scene.claim.grant == word("one", 5)
        scene.ends.picture(40)
        await pictures(one, 2)

    changing(tmp_path, test)


@pytest.mark.parametrize("leads", [True, False])
def test_nobody_waits_for_a_coordinator_that_says_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, leads: bool
) -> None:
    monkeypatch.setattr(seats, "ANSWER_S", 0.05)

    async def test(scene: Changing, one: FakeWorker, two: FakeWorker) -> None:
        scene.leader = 1 if leads else None
        scene.change()
        message, _ = await asyncio.wait_for(asked(one, "attach"), 10)
        assert message["beside"] and read(message["grant"]).work == LARGER

    changing(tmp_path, test)
