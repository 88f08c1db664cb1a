"""Networks that were compiled once are not compiled again for the next stream."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

from streamgen.control.warm import MOST_IDLE, WarmEngines, load
from streamgen.plugins import find_model
from streamgen.protocols import ModelSpec, Running, Runtime


class Compiled:
    def __init__(self) -> None:
        self.closed = False

    def submit(self, inputs: Any, out: Any) -> Any:
        return (inputs, out)

    def close(self) -> None:
        self.closed = True


class Compiler:
    """Engines that count what they compile."""

    requests = 2
    running: Mapping[str, Running] = {}

    def __init__(self) -> None:
        self.made: list[Compiled] = []

    def open(self, model: ModelSpec, width: int, height: int, **color: Any) -> Runtime:
        self.made.append(Compiled())
        return self.made[-1]


MODEL = ModelSpec("starry", "style", {})
COLOR: dict[str, Any] = {"matrix": "bt709", "full_range": False}


def test_what_one_session_closed_the_next_one_opens() -> None:
    compiler = Compiler()
    engines = WarmEngines(compiler)
    first = engines.open(MODEL, 64, 32, **COLOR)
    both = engines.open(MODEL, 64, 32, **COLOR)  # in use: another one is compiled
    assert len(compiler.made) == 2
    first.close()
    first.close()  # twice does no harm
    again = engines.open(MODEL, 64, 32, **COLOR)
    assert len(compiler.made) == 2 and not compiler.made[0].closed
    assert again.submit({}, {}) == ({}, {})
    other = engines.open(MODEL, 128, 32, **COLOR)
    assert len(compiler.made) == 3
    for one in (both, again, other):
        one.close()
    engines.close()
    assert all(one.closed for one in compiler.made)


def test_a_rehearsal_fills_the_same_store_with_engines_of_its_own() -> None:
    compiler, ahead = Compiler(), Compiler()
    engines = WarmEngines(compiler, ahead)
    engines.rehearsing.open(MODEL, 64, 32, **COLOR).close()
    engines.open(MODEL, 64, 32, **COLOR)
    assert (len(compiler.made), len(ahead.made)) == (0, 1)


def test_only_so_many_wait_unused_and_the_oldest_goes() -> None:
    compiler = Compiler()
    engines = WarmEngines(compiler)
    for width in range(64, 64 + 4 * (MOST_IDLE + 2), 4):
        engines.open(MODEL, width, 32, **COLOR).close()
    assert [one.closed for one in compiler.made] == [True, True] + [False] * MOST_IDLE


def test_networks_in_demand_are_loaded_for_their_size_and_found_by_the_stream_that_comes() -> None:
    compiler, ahead = Compiler(), Compiler()
    engines, loaded = WarmEngines(compiler, ahead), threading.Event()
    told: list[str] = []

    def is_loaded(network: str) -> None:
        told.append(network)
        if network.startswith("wave"):
            loaded.set()

    wanted = ["starry@1278x720", "none@640x360", "starry", "wave@640x360"]
    load(wanted, engines.rehearsing, is_loaded)
    assert loaded.wait(30)
    assert told == ["starry@1278x720", "wave@640x360"]
    engines.open(find_model("starry"), 1280, 720, **COLOR)  # as the stage pads it
    engines.open(find_model("wave"), 640, 360, matrix="bt601", full_range=False)
    assert (len(compiler.made), len(ahead.made)) == (0, 2)
