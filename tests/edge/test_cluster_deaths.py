"""Streams of a cluster run on, whatever dies: real coordinators, real workers, two edges."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.edge.clustered import Edge, Processes, Published, edge, processes, until


def test_streams_go_on_when_a_worker_and_the_coordinator_die_and_when_a_worker_is_emptied(
    tmp_path: Path,
) -> None:
    async def main(some: Processes) -> None:
        some.coordinator(0)
        for name in ("node-1", "node-2"):
            some.worker(name)
        async with (
            edge(tmp_path / "a", "edge-a", some.places) as a,
            edge(tmp_path / "b", "edge-b", some.places) as b,
        ):
            await until(lambda: len(a.link.workers) == len(b.link.workers) == 2, "the workers")
            streams = [a.publish("one"), b.publish("two")]
            for stream in streams:
                await stream.moves()
            await through_deaths(some, (a, b), streams)
            for stream in streams:
                await stream.moves(50)
                stream.whole()
                print(stream.stream.name, stream.stream.tenure.took_over_s)

    with processes(tmp_path) as some:
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

    some.coordinator(1)
    some.kill("c0")
    await until(lambda: not any(edge.seats.led for edge in edges), "silence of the coordinator")
    for stream in streams:
        await stream.moves()
        assert stream.worker == other
    some.worker(there)  # the other coordinator leads, and tells it of the edges
    await until(lambda: all(there in edge.link.workers for edge in edges), "the worker")
    streams.append(edges[0].publish("three"))
    await streams[-1].moves()

    some.running[other].terminate()
    for stream in streams:
        await stream.gets_to(there)
    assert await asyncio.to_thread(some.running[other].wait, 30) == 0
