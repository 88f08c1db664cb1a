"""Streams of a cluster run on, whatever dies: real coordinators, real workers, two edges."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from tests.edge.clustered import GOP, Edge, Processes, Published, edge, processes, until
from tests.edge.viewer import Viewer

KILLS = 10
SHOWN = 55
"""Pictures of a worker before it is killed: more than two seconds, so that no stream is blamed."""


def test_streams_go_on_when_a_worker_and_the_coordinator_die_and_when_a_worker_is_emptied(
    tmp_path: Path,
) -> None:
    async def test(some: Processes, a: Edge, b: Edge) -> None:
        streams = [a.publish("one"), b.publish("two")]
        for stream in streams:
            await stream.moves()
        await through_deaths(some, (a, b), streams)
        for stream in streams:
            await stream.moves(50)
            stream.whole()
            print(stream.stream.name, stream.stream.tenure.took_over_s)

    run(tmp_path, test)


def test_a_stream_whose_worker_dies_while_no_coordinator_leads_waits_for_the_next_one(
    tmp_path: Path,
) -> None:
    async def test(some: Processes, a: Edge, b: Edge) -> None:
        stream = a.publish("one")
        await stream.moves()
        there = stream.worker
        some.kill("c0")
        await until(lambda: not a.seats.led, "silence of the coordinator")
        await stream.moves()
        some.kill(there)
        await until(lambda: not stream.worker, "death of the worker")
        assert "no coordinator leads" in stream.stream.tenure.seating.why
        some.coordinator(0)
        await stream.gets_to("node-2" if there == "node-1" else "node-1")
        await stream.moves()
        assert stream.stream.tenure.seating.why == ""
        stream.whole()

    run(tmp_path, test)


@pytest.mark.timeout(300)
def test_ten_workers_that_are_killed_one_after_the_other_cost_no_segment(tmp_path: Path) -> None:
    """And all together less than a GOP of pictures, beside those that a busy machine gives up; of
    those, too, less than two seconds' at once."""

    async def test(some: Processes, a: Edge, b: Edge) -> None:
        streams = [a.publish("one"), b.publish("two")]
        for stream in streams:
            await stream.moves()
        viewers = [Viewer(stream) for stream in streams]
        for _ in range(KILLS):
            for stream in streams:
                await stream.moves(SHOWN)
            there = streams[0].worker
            some.kill(there)
            some.worker(there)
            for stream in streams:
                await until(lambda s=stream, w=there: s.worker not in ("", w), "another worker")
            await until(lambda: len(a.link.workers) == len(b.link.workers) == 2, "both workers")
        for stream in streams:
            await stream.moves()
            stream.whole()
            print(stream.stream.name, stream.stream.tenure.took_over_s)
        assert sum(len(stream.stream.tenure.took_over_s) for stream in streams) >= KILLS
        for viewer in viewers:
            print(f"{viewer.holes()} pictures missing, {viewer.no_time} for want of time")
            assert viewer.longest < 2 * GOP
            assert viewer.holes() - viewer.no_time < GOP
            viewer.whole()

    run(tmp_path, test)


def run(folder: Path, test: Callable[[Processes, Edge, Edge], Awaitable[None]]) -> None:
    """With a coordinator, two workers and two edges."""

    async def main(some: Processes) -> None:
        some.coordinator(0)
        for name in ("node-1", "node-2"):
            some.worker(name)
        async with (
            edge(folder / "a", "edge-a", some.places) as a,
            edge(folder / "b", "edge-b", some.places) as b,
        ):
            await until(lambda: len(a.link.workers) == len(b.link.workers) == 2, "the workers")
            await test(some, a, b)

    with processes(folder) as some:
        asyncio.run(main(some))


async def through_deaths(
    some: Processes, edges: tuple[Edge, Edge], streams: list[Published]
) -> None:
    there = streams[0].worker
    other = "node-2" if there == "node-1" else "node-1"
    some.kill(there)
    for stream in streams:
        await stream.gets_to(other)
        await stream.moves()

    led = edges[0].seats.leads() or 0
    some.coordinator(1)
    some.kill("c0")
    for stream in streams:
        await stream.moves()
    await until(lambda: all((e.seats.leads() or 0) > led for e in edges), "the other coordinator")
    for stream in streams:
        await stream.moves()
        assert stream.worker == other
    some.worker(there)
    await until(lambda: all(there in edge.link.workers for edge in edges), "the worker")
    streams.append(edges[0].publish("three"))
    await streams[-1].moves()

    some.running[other].terminate()
    for stream in streams:
        await stream.gets_to(there)
    assert await asyncio.to_thread(some.running[other].wait, 30) == 0
