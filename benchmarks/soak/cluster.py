"""Workers of a cluster killed or frozen again and again, and its coordinators killed, while streams
run; or its edges killed.

    python benchmarks/soak/cluster.py --kills 100
    python benchmarks/soak/cluster.py --kills 20 --frozen --busy 4
    python benchmarks/soak/cluster.py --edges 20

Two coordinators, two edges, three workers and as many streams as asked for. Each turn kills a
worker that has streams (SIGKILL), waits until they show pictures again, and starts it anew; every
fourth turn the coordinator that leads is killed first, and started anew after. Prints one JSON
line: gaps are times without a new picture for viewers, from the last before the loss on, and
`pictures_missing_max` is what one loss has cost at most. Segments are counted by number and
content, as they were listed, in all renditions. `moved_for_nothing` are streams that left a worker
to which nothing was done.

With `--frozen` the worker is stopped (SIGSTOP) until its streams show pictures elsewhere, and then
goes on: its connections stay open, so that its silence alone tells. `--busy` processes do nothing
but take the processors meanwhile.

With `--edges`, three edges: a publisher (FFmpeg) goes from one to the other as its own is killed
(SIGKILL, and so is its supervisor), and starts anew half a second after viewers saw the last of it.
They watch at the third, by HLS (every playlist and part is fetched) and by WHEP. Prints how long
after the publisher came to the next edge they see pictures again, and what players should not have
seen.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
from tests.edge.clustered import Edge, Processes, Published, edge, processes, until  # noqa: E402
from tests.edge.viewer import Viewer  # noqa: E402
from tests.live import serving  # noqa: E402
from tests.live.clustering import Cluster  # noqa: E402
from tests.live.playing import Player  # noqa: E402
from tests.live.serving import Publisher  # noqa: E402
from tests.live.watching import View, watched  # noqa: E402

WORKERS = ("node-1", "node-2", "node-3")
EACH_FOURTH = 4
SHOWN = 55
"""Pictures of a worker before it is lost: more than two seconds, so that no stream is blamed."""
EDGES = ("edge-a", "edge-b", "edge-c")
QUIET_S = 0.5
AGES_S = 24 * 3600.0
CAME = "publishes cam"
"""In the log of an edge, which begins anew with it."""
STARTS_S = 55.0
"""Processes may take so long to start where the machine is busy."""


@contextmanager
def busy(number: int) -> Iterator[None]:
    """So many processes take what they can get of the processors."""
    command = [sys.executable, "-c", "while True: pass"]
    burning = [subprocess.Popen(command) for _ in range(number)]
    try:
        yield
    finally:
        for one in burning:
            one.kill()
            one.wait()


async def lose_again_and_again(
    some: Processes, kills: int, number: int, *, frozen: bool
) -> dict[str, Any]:
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
        for stream in streams:
            await stream.moves()
        viewers = [Viewer(one) for one in streams]
        gaps: list[float] = []
        missing: list[int] = []
        for turn in range(kills):
            for stream in streams:
                await stream.moves(SHOWN)
            if turn % EACH_FOURTH == EACH_FOURTH - 1:
                await next_leader(some, edges)
            there = streams[turn % number].worker
            hit = [
                (viewer, len(viewer.stamps) - 1)
                for stream, viewer in zip(streams, viewers, strict=True)
                if stream.worker == there
            ]
            (some.freeze if frozen else some.kill)(there)
            for stream in streams:
                await until(partial(elsewhere, stream, there), "another worker")
                await stream.moves()
            gaps += [viewer.longest_s(last) for viewer, last in hit]
            missing += [viewer.holes(last) for viewer, last in hit]
            (some.thaw if frozen else some.worker)(there)
            await all_here(edges)
            print(f"{turn + 1} of {kills}: {there}, {gaps[-1]:.2f} s", file=sys.stderr)
        for stream in streams:
            await stream.moves(50)
    takeovers = sum(len(one.stream.tenure.took_over_s) for one in streams)
    return {
        "frozen" if frozen else "killed": kills,
        "takeovers": takeovers,
        "moved_for_nothing": takeovers - len(gaps),
        "gap_p50_s": round(float(np.median(gaps)), 3),
        "gap_max_s": round(max(gaps), 3),
        "pictures_missing_max": max(missing),
        "segments": sum(len(one.digests) for one in viewers),
        "segments_missing": sum(len(one.missing) + len(one.gaps) for one in viewers),
        "segments_changed": sum(len(one.changed) for one in viewers),
        "segments_double": sum(one.double for one in viewers),
    }


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


def kill_edges(folder: Path, kills: int) -> dict[str, Any]:
    """The last of the edges has the viewers, the others the publisher in turn."""
    gaps: list[float] = []
    serving.STARTS_S = STARTS_S
    with Cluster(folder, EDGES) as cluster:
        here, there, last = EDGES
        publisher = Publisher(cluster.edges[here], "cam", seconds=AGES_S)

        async def scene(view: View) -> None:
            nonlocal here, there, publisher
            for turn in range(kills):
                shown = len(view.shown)
                await until(lambda shown=shown: len(view.shown) > shown + 25, "motion")
                await asyncio.to_thread(player.moves)
                cluster.kill_edge(here)
                publisher.kill()
                await until(lambda: time.monotonic() - view.shown[-1].at_s > QUIET_S, "the last")
                began = time.monotonic()
                publisher = Publisher(cluster.edges[there], "cam", seconds=AGES_S)
                log = cluster.edges[there].log
                await until(lambda log=log: CAME in log(), "the publisher")
                came = time.monotonic()
                await until(lambda began=began: view.shown[-1].at_s > began, "motion again")
                gaps.append(max(0.0, next(s.at_s for s in view.shown if s.at_s > began) - came))
                print(f"{turn + 1} of {kills}: {gaps[-1]:.2f} s", file=sys.stderr)
                await asyncio.to_thread(cluster.edge, here)
                here, there = there, here

        try:
            with Player(cluster.edges[last], "cam") as player:
                view = watched(cluster.edges[last], "/whep/cam", scene)
                player.moves()
                session = cluster.edges[here].stream("cam").get("session")
        finally:
            publisher.close()
    for wrong in player.wrong:
        print(wrong, file=sys.stderr)
    return {
        "kills": kills,
        "motion_p50_s": round(float(np.median(gaps)), 3),
        "motion_max_s": round(max(gaps), 3),
        "hls_parts": player.parts,
        "hls_errors": len(player.wrong),
        "hls_missing": len(player.missing),
        "hls_double": player.double,
        "hls_segments_with_gaps": len({number for _, number in player.gaps}),
        "whep_in_order": view.monotonic,
        "same_session": session == player.session,
    }


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--kills", type=int, default=100)
    arguments.add_argument("--streams", type=int, default=2)
    arguments.add_argument("--frozen", action="store_true")
    arguments.add_argument("--busy", type=int, default=0, metavar="PROCESSES")
    arguments.add_argument("--edges", type=int, default=0, metavar="KILLS")
    given = arguments.parse_args()
    if given.edges:
        with tempfile.TemporaryDirectory() as place:
            print(json.dumps(kill_edges(Path(place), given.edges)))
        return
    with (
        tempfile.TemporaryDirectory() as folder,
        processes(Path(folder)) as some,
        busy(given.busy),
    ):
        lost = lose_again_and_again(some, given.kills, given.streams, frozen=given.frozen)
        found = asyncio.run(lost)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
