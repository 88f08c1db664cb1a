"""Of two edges that have a stream's publisher the newest one alone gets pictures of it, also where
the other does not hear that it is none any more."""

from __future__ import annotations

import asyncio
from pathlib import Path

from streamgen.control.coordinator.homes import Home
from streamgen_edge.hooks.event import EndReason
from tests.edge.clustered import edge, processes, until


def test_an_edge_that_is_not_told_that_its_stream_has_moved_gets_no_more_pictures(
    tmp_path: Path,
) -> None:
    async def main() -> None:
        some.coordinator(0)
        some.worker("node-1")
        async with (
            edge(tmp_path / "a", "edge-a", some.places) as a,
            edge(tmp_path / "b", "edge-b", some.places) as b,
        ):
            for one in (a, b):
                await until(lambda one=one: one.link.workers, "the worker")
            former = await a.joined.homes.claim("cam")
            theirs = a.publish("cam")
            await theirs.moves()
            assert theirs.worker == "node-1"

            home = await b.joined.homes.claim("cam")  # nobody listens at edge-a
            assert home.epoch > former.epoch
            ours = b.publish("cam")
            await ours.moves(1)
            before, seen = theirs.stream.viewing.frames, len(ours.ended)
            await ours.moves(75)
            assert theirs.stream.viewing.frames == before and not theirs.worker
            assert ours.worker == "node-1" and len(ours.ended) == seen == 0

    with processes(tmp_path) as some:
        asyncio.run(main())


def test_an_edge_that_is_cut_off_from_the_coordinators_hears_it_from_the_worker(
    tmp_path: Path,
) -> None:
    async def main() -> None:
        some.coordinator(0)
        some.worker("node-1")
        async with (
            edge(tmp_path / "a", "edge-a", some.places) as a,
            edge(tmp_path / "b", "edge-b", some.places) as b,
        ):
            for one in (a, b):
                await until(lambda one=one: one.link.workers, "the worker")
            await a.joined.homes.claim("cam")
            theirs = a.publish("cam")
            await theirs.moves()
            a.seats.leads = lambda: None
            a.joined.homes.heard = lambda command: None  # type: ignore[method-assign]
            lost: list[str] = []

            def let_go(stream: str, home: Home) -> None:
                lost.append(home.edge)
                theirs.stream.end(EndReason.MOVED)

            a.joined.homes.lost = let_go
            await b.joined.homes.claim("cam")
            ours = b.publish("cam")
            await ours.moves()
            await until(lambda: theirs.ended, "the end at edge-a")
            assert lost == [""], "where it is now the worker does not know"
            assert not theirs.stream.error and not ours.ended

    with processes(tmp_path) as some:
        asyncio.run(main())
