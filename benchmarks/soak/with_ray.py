"""Workers that Ray places, at a coordinator with keys, and an edge beside it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from streamgen.control.keys import new_key
from tests.control.launch.test_ray import World
from tests.live.apart import signing
from tests.live.serving import Server
from tests.ports import free_port

NUMBERS = 3


@contextmanager
def placed_by_ray(folder: Path) -> Iterator[tuple[World, Server]]:
    """On three nodes of Ray. All workers sign alike: they are started by one command."""
    world = World(folder)
    site = signing(folder)
    world.environment |= {
        "SIGNED": "1",
        "PYTHONPATH": os.pathsep.join([str(site), world.environment["PYTHONPATH"]]),
    }
    try:
        world.ray()
        world.up()
        edge = _edge(folder, world)
        try:
            yield world, edge
        finally:
            edge.stop()
    finally:
        world.end()


def _edge(folder: Path, world: World) -> Server:
    key = new_key(folder / "edge.key").public.hex()
    with (folder / "peers").open("a") as peers:
        peers.write(f"\n{key} edge\n")
    worker, coordinator = (world.joining[world.joining.index(one) + 1] for one in _KEYS)
    public = Path(worker).read_text().split("# ")[2][:64]
    config = "pipeline: transcode\nworkers: 0\n"
    config += f"link: {{listen: '127.0.0.1:{free_port(2)}', key: {folder}/edge.key, "
    config += f"workers: [{public}]}}\ncluster: {{name: edge, key: {folder}/edge.key, "
    config += f"coordinators: ['{world.joining[1]}'], coordinator_key: {coordinator}}}\n"
    (folder / "edge").mkdir()
    return Server(folder / "edge", config=config, workers=NUMBERS, environment=world.environment)


_KEYS = ("--key", "--coordinator-key")
