"""How long a new leader is not there for others while it takes up very many streams.

    python benchmarks/taking_up.py [--nodes 10000] [--streams 100000]

A store of SQLite is filled with rows as leaders write them; then a coordinator asks for the lease,
reads them and takes them up, as `streamgen coordinator` does. One JSON line: processor time from
the lease to leading (`cpu_s`), the longest that nobody else had a turn on the loop (`block_cpu_ms`,
of this thread's processor time, so that other programs do not count).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
import time
from pathlib import Path

from streamgen.control.coordinator.commands import Persist
from streamgen.control.coordinator.coordinator import Coordinator
from streamgen.control.coordinator.desk import Desk
from streamgen.control.coordinator.events import Held, KnownNode, KnownStream, LeaseGained
from streamgen.control.coordinator.figures import Figures
from streamgen.control.coordinator.lead import Lead
from streamgen.control.coordinator.rows import written
from streamgen.control.placement.resources import Profile, Resources, Standing
from streamgen.control.placement.scheduler import Work
from streamgen.control.store import Store
from streamgen.control.store.rows import Lease, Row

NODE = Resources(16_000, 1_000, 64_000, 48_000, 1_000, 1_000)
NEEDS = (
    Resources(600, 80, 900, 1_400, 60, 90),
    Resources(500, 60, 900, 1_200, 60, 90),
    Resources(300, 50, 700, 900, 60, 30),
)
TTL_MS = 5_000
TOGETHER = 5_000


def rows(nodes: int, streams: int) -> list[Row]:
    """Of twelve kinds of streams, all placed."""
    kinds = [Profile(f"kind-{n}", NEEDS, frozenset({f"model-{n % 4}"})) for n in range(12)]
    known = (KnownNode(f"node-{n}", NODE, ("model-0",), f"boot-{n}") for n in range(nodes))
    placed = (
        KnownStream(
            Work(f"stream-{n}", kinds[n % len(kinds)], Standing(n % 2)),
            Held(f"node-{n % nodes}", (1 << 32) + n),
        )
        for n in range(streams)
    )
    return written(Persist(nodes=tuple(known), streams=tuple(placed)), 1)


def wall_ms() -> int:
    return time.time_ns() // 1_000_000


def now_ms() -> int:
    return time.monotonic_ns() // 1_000_000


async def measured(url: str, nodes: int, streams: int) -> dict[str, float]:
    async with Store(url, wall_ms) as store:
        every = rows(nodes, streams)
        for begin in range(0, len(every), TOGETHER):
            await store.write(*every[begin : begin + TOGETHER])
        del every
        desk = Desk(Coordinator(b"secret"), Figures(), lambda *_: None, lambda _: None)
        leads = asyncio.Event()

        async def gained(lease: Lease, known: LeaseGained) -> None:
            for _ in desk.coordinator.prepare(known, now_ms()):
                await asyncio.sleep(0)
            desk.gained(known, now_ms())
            leads.set()

        lead = Lead(store, "me", TTL_MS, now_ms)
        first_ms, began_ns = now_ms(), time.thread_time_ns()
        task = asyncio.create_task(lead.run(gained, print))
        longest_ns, last_ns = 0, time.thread_time_ns()
        while not leads.is_set():
            await asyncio.sleep(0)
            at_ns = time.thread_time_ns()
            longest_ns, last_ns = max(longest_ns, at_ns - last_ns), at_ns
        took_ns = time.thread_time_ns() - began_ns
        task.cancel()
        wall_s = (now_ms() - first_ms) / 1e3
        await asyncio.wait([task])
    return {
        "cpu_s": round(took_ns / 1e9, 2),
        "block_cpu_ms": round(longest_ns / 1e6),
        "wall_s": round(wall_s, 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nodes", type=int, default=10_000)
    parser.add_argument("--streams", type=int, default=100_000)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{Path(folder) / 'state.db'}"
        found = asyncio.run(measured(url, asked.nodes, asked.streams))
    print(
        json.dumps(
            {"benchmark": "taking_up", "nodes": asked.nodes, "streams": asked.streams} | found
        )
    )


if __name__ == "__main__":
    main()
