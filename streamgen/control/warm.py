"""`WarmEngines`: networks that were compiled once stay ready for the next stream of their size.

A worker that takes a stream over must not compile anything first. So what a session closes is kept
for the next one, and an idle worker opens a session ahead (`HostedStream.rehearse`).
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

from streamgen.control.placement.networks import Network
from streamgen.errors import StreamGenError
from streamgen.media.color import color_of
from streamgen.media.frame import Plane, Range
from streamgen.plugins import find_model
from streamgen.protocols import Engines, Inputs, ModelSpec, Running, Runtime, Ticket

MOST_IDLE = 8
"""Networks that wait unused; each holds its weights and buffers, some ten MB."""
NICENESS = 10
log = logging.getLogger("streamgen.worker")
_Key = tuple[str, int, int, str, bool]


class WarmEngines:
    """`protocols.Engines` of all sessions of one worker. Any thread."""

    def __init__(self, engines: Engines, ahead: Engines | None = None) -> None:
        """`ahead` opens what `rehearsing` asks for: engines that measure nothing beside streams."""
        self._engines = engines
        self._ahead = ahead or engines
        self._lock = threading.Lock()
        self._idle: list[tuple[_Key, Runtime]] = []

    @property
    def requests(self) -> int:
        return self._engines.requests

    @property
    def running(self) -> Mapping[str, Running]:
        return self._engines.running

    def open(
        self, model: ModelSpec, width: int, height: int, *, matrix: str, full_range: bool
    ) -> Runtime:
        key = (model.name, width, height, matrix, full_range)
        with self._lock:
            for place, (other, runtime) in enumerate(self._idle):
                if other == key:
                    del self._idle[place]
                    return _Lent(runtime, key, self)
        opened = self._engines.open(model, width, height, matrix=matrix, full_range=full_range)
        return _Lent(opened, key, self)

    @property
    def rehearsing(self) -> WarmEngines:
        """The same store, filled by the engines for rehearsals."""
        twin = WarmEngines(self._ahead)
        twin._idle, twin._lock = self._idle, self._lock
        return twin

    def keep(self, key: _Key, runtime: Runtime) -> None:
        """Nobody uses it now. The one that has waited longest goes when there are too many."""
        with self._lock:
            self._idle.append((key, runtime))
            surplus = self._idle.pop(0)[1] if len(self._idle) > MOST_IDLE else None
        if surplus is not None:
            surplus.close()

    def close(self) -> None:
        """Free all that waits."""
        with self._lock:
            idle = [runtime for _, runtime in self._idle]
            self._idle.clear()
        for runtime in idle:
            runtime.close()


class _Lent:
    """A runtime that goes back instead of being closed."""

    def __init__(self, runtime: Runtime, key: _Key, owner: WarmEngines) -> None:
        self._runtime: Runtime | None = runtime
        self._key = key
        self._owner = owner

    def submit(self, inputs: Inputs, out: Mapping[str, Plane]) -> Ticket:
        assert self._runtime is not None
        return self._runtime.submit(inputs, out)

    def close(self) -> None:
        runtime, self._runtime = self._runtime, None
        if runtime is not None:
            self._owner.keep(self._key, runtime)


def load(networks: Sequence[str], engines: Engines, loaded: Callable[[str], None]) -> None:
    """Compile each of these (`Network.text`) for pictures as most publishers send them, on a thread
    that yields to all others. What cannot be loaded is left out: whoever needs it will hear why."""

    def work() -> None:
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
        for text in networks:
            try:
                one = Network.read(text)
                _open(engines, one).close()
            except StreamGenError as error:
                log.warning("%s is in demand, and cannot be loaded here: %s", text, error)
            else:
                loaded(text)

    threading.Thread(target=work, name="warm", daemon=True).start()


def _open(engines: Engines, one: Network) -> Runtime:
    """As `stages.model.Model` does for pictures that say nothing of their colour."""
    model = find_model(one.model)
    multiple = max(2, model.multiple)
    width, height = (-(-size // multiple) * multiple for size in (one.width, one.height))
    color = color_of(2, 0, 2, 2, height=one.height, pix_fmt="yuv420p")
    full = color.range is Range.FULL
    return engines.open(model, width, height, matrix=color.matrix.value, full_range=full)
