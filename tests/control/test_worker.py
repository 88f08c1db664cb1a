"""One worker and many edges: each has its own streams there, and its own silence."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import zmq
import zmq.asyncio

from streamgen.control import hosted, line
from streamgen.control.coordinator.commands import Assign
from streamgen.control.holdings import Holdings, written
from streamgen.control.placement.resources import Cut, Profile, Resources, Standing
from streamgen.control.placement.scheduler import Work
from streamgen.control.wire import Place, encoded, prepare
from streamgen.control.worker import Edges, Worker
from streamgen.errors import Stuck
from streamgen.session import Session
from streamgen.session import run as run_session

SOUND_ONLY = {
    "type": "attach",
    "stream": 1,
    "term": 1,
    "name": "x",
    "pipeline": {"name": "plain", "ladder": [{"height": 90, "bitrate": "200k"}]},
    "codec": "",
    "time_base": [1, 90_000],
}


class Edge:
    """The sockets of an edge, and whatever a worker says there."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.place = Place.in_folder(folder)
        self.context = zmq.asyncio.Context()
        self.control: Any = self.context.socket(zmq.ROUTER)
        prepare(self.control, control=True)
        self.control.bind(self.place.control)
        self.media: Any = self.context.socket(zmq.ROUTER)
        prepare(self.media, control=False)
        self.media.bind(self.place.media)

    async def hears(self, kind: str) -> dict[str, Any]:
        """The next message of this kind; the worker hears on the way that we live."""
        while True:
            name, head = await asyncio.wait_for(self.control.recv_multipart(), 20)
            message: dict[str, Any] = json.loads(head)
            if message["type"] == kind:
                return message
            with suppress(zmq.ZMQError):  # it has gone, after what is still to be read
                await self.control.send_multipart([name, encoded({"type": "beat"})])

    async def says(self, **message: Any) -> None:
        await self.control.send_multipart([b"w", encoded(message), b""])

    def close(self) -> None:
        self.media.close()
        self.control.close()
        self.context.term()


@contextmanager
def working(edges: Edges, holdings: Holdings | None = None) -> Iterator[Worker]:
    worker = Worker("w", edges, now=lambda: datetime.now(UTC), holdings=holdings)
    thread = threading.Thread(target=worker.serve)
    thread.start()
    try:
        yield worker
    finally:
        worker.stop()
        thread.join(20)
    assert not thread.is_alive()


def test_edges_come_and_go_while_streams_of_others_run(tmp_path: Path) -> None:
    async def main() -> None:
        one, two = Edge(tmp_path / "one"), Edge(tmp_path / "two")
        with working({"one": (one.place, None)}) as worker:
            await one.hears("hello")
            await one.says(**SOUND_ONLY)
            await one.hears("attached")
            worker.use({"one": (one.place, None), "two": (two.place, None)})
            await two.hears("hello")
            await two.says(**SOUND_ONLY)
            await two.hears("attached")
            worker.use({"two": (two.place, None)})
            assert (await one.hears("ended"))["error"] == ""
            await two.says(type="detach", stream=1, term=1)
            assert (await two.hears("ended"))["term"] == 1
        one.close()
        two.close()

    asyncio.run(main())


def test_an_edge_that_falls_silent_ends_its_own_streams_only(
    tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setattr(line, "DEAD_S", 1.0)

    async def main() -> None:
        one, two = Edge(tmp_path / "one"), Edge(tmp_path / "two")
        with working({"one": (one.place, None), "two": (two.place, None)}):
            for edge in (one, two):
                await edge.hears("hello")
                await edge.says(**SOUND_ONLY)
            await one.hears("attached")
            await two.hears("attached")
            answers = asyncio.ensure_future(two.hears("ended"))
            while True:  # one listens, and says nothing
                _, head = await asyncio.wait_for(one.control.recv_multipart(), 20)
                if json.loads(head)["type"] == "ended":
                    break
            assert not answers.done()
            await two.says(type="detach", stream=1, term=1)
            await answers
        one.close()
        two.close()

    asyncio.run(main())


def test_a_node_of_a_cluster_begins_streams_by_the_newest_word_only(tmp_path: Path) -> None:
    work = Work("x", Profile("plain", (Resources(cpu_ms=1),)), Standing.LIVE_PAID)
    words = [written(Assign(work, "w", epoch, "", Cut.NOTHING)) for epoch in (1, 2)]

    async def main() -> None:
        edge, holdings = Edge(tmp_path / "edge"), Holdings("w")
        with working({"edge": (edge.place, None)}, holdings):
            await edge.hears("hello")
            await edge.says(**SOUND_ONLY)
            assert (await edge.hears("ended"))["term"] == 1  # without any word
            await edge.says(**{**SOUND_ONLY, "term": 2, "grant": words[1]})
            await edge.hears("attached")
            assert [one.epoch for one in holdings.running()] == [2]
            await edge.says(**{**SOUND_ONLY, "stream": 2, "term": 1, "grant": words[0]})
            assert (await edge.hears("ended"))["stream"] == 2
            await edge.says(type="detach", stream=1, term=2)
            assert (await edge.hears("ended"))["stream"] == 1
        assert not len(holdings)
        edge.close()

    asyncio.run(main())


def test_a_node_says_which_networks_it_has_ready_once_it_has_opened_a_stream_that_needs_them(
    tmp_path: Path,
) -> None:
    asked = {**SOUND_ONLY, "type": "warm"}

    async def main() -> None:
        edge, holdings = Edge(tmp_path / "edge"), Holdings("w")
        with working({"edge": (edge.place, None)}, holdings):
            await edge.hears("hello")
            for pipeline, network in ({}, "none@640x360"), (asked["pipeline"], "starry@640x360"):
                await edge.says(**{**asked, "pipeline": pipeline, "models": [network]})
                await edge.says(**SOUND_ONLY)
                await edge.hears("ended")  # it is refused; what was said before it was heard
                for thread in threading.enumerate():
                    if thread.name == "rehearsal":
                        thread.join(20)
            assert holdings.models() == ("starry@640x360",)
        edge.close()

    asyncio.run(main())


def test_a_call_that_does_not_come_back_ends_the_worker_once_all_edges_know(
    tmp_path: Path, monkeypatch: Any
) -> None:
    raised: list[Stuck] = []

    def run(session: Session) -> None:
        if session.source.info.name == "stuck":
            raise Stuck("encoder h264 of rung 90p has not come back for 30 s", what="encoder h264")
        run_session(session)

    async def main() -> None:
        monkeypatch.setattr(hosted, "run", run)
        edge = Edge(tmp_path / "edge")
        worker = Worker("w", {"edge": (edge.place, None)}, now=lambda: datetime.now(UTC))

        def serve() -> None:
            try:
                worker.serve()
            except Stuck as error:
                raised.append(error)

        thread = threading.Thread(target=serve)
        thread.start()
        await edge.hears("hello")
        await edge.says(**SOUND_ONLY)
        await edge.hears("attached")
        others = worker.streams
        await edge.says(**{**SOUND_ONLY, "stream": 2, "name": "stuck"})
        told = await edge.hears("stuck")
        assert told["reason"].startswith("encoder h264 of rung 90p") and told["stream"] == 2
        thread.join(20)
        assert not thread.is_alive()
        edge.close()
        for stream in others:
            stream.stop()
            assert stream.join(20)

    asyncio.run(main())
    assert [error.what for error in raised] == ["encoder h264"]
