"""Workers of a cluster killed again and again, and its coordinators, while streams run.

    python benchmarks/soak/cluster.py --kills 100

Two coordinators, two edges, three workers and as many streams as asked for. Each turn kills a
worker that has streams (SIGKILL), waits until they show pictures again, and starts it anew; every
fourth turn the coordinator that leads is killed first, and started anew after. In the end no
segment may be missing or have changed. Prints one JSON line: gaps from the loss of a worker to the
next picture.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
from tests.edge.clustered import Edge, Processes, Published, edge, processes, until  # noqa: E402

WORKERS = ("node-1", "node-2", "node-3")
EACH_FOURTH = 4


async def kill_again_and_again(some: Processes, kills: int, number: int) -> list[Published]:
    for one in (0, 1):
        some.coordinator(one)
    for name in WORKERS:
        some.worker(name)
    async with AsyncExitStack() as opened:
        edges = [
            await opened.enter_async_context(edge(some.folder / name, name, some.places))
            for name in ("a", "b")
        ]
        await all_here(edges)
        streams = [edges[n % 2].publish(f"stream-{n}") for n in range(number)]
        for turn in range(kills):
            for stream in streams:
                await stream.moves()
            if turn % EACH_FOURTH == EACH_FOURTH - 1:
                await next_leader(some, edges)
            there = streams[turn % number].worker
            some.kill(there)
            for stream in streams:
                await until(partial(elsewhere, stream, there), "another worker")
                await stream.moves()
            some.worker(there)
            await all_here(edges)
            print(f"{turn + 1} of {kills}: {there}", file=sys.stderr)
        for stream in streams:
            await stream.moves(50)
            stream.whole()
        return streams


def elsewhere(stream: Published, worker: str) -> bool:
    return stream.worker not in ("", worker)


async def all_here(edges: list[Edge]) -> None:
    await until(lambda: all(len(one.link.workers) == len(WORKERS) for one in edges), "all workers")


async def next_leader(some: Processes, edges: list[Edge]) -> None:
    """The one that leads is killed; it stands by once the other leads."""
    led = edges[0].seats.leads() or 0
    leads = 0 if f'"leads with epoch {led}:' in (some.folder / "c0.log").read_text() else 1
    some.kill(f"c{leads}")
    await until(lambda: all((one.seats.leads() or 0) > led for one in edges), "the next leader")
    some.coordinator(leads)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--kills", type=int, default=100)
    arguments.add_argument("--streams", type=int, default=2)
    given = arguments.parse_args()
    with tempfile.TemporaryDirectory() as folder, processes(Path(folder)) as some:
        streams = asyncio.run(kill_again_and_again(some, given.kills, given.streams))
    gaps = [gap for one in streams for gap in one.stream.tenure.took_over_s]
    found = {
        "kills": given.kills,
        "takeovers": len(gaps),
        "gap_p50_s": round(float(np.median(gaps)), 3),
        "gap_max_s": round(max(gaps), 3),
        "segments": sum(len(seen.segments) for one in streams for seen in one.seen.values()),
        "missing_or_changed": 0,
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
