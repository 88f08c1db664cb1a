"""`Fleet`: the workers of a cluster that somebody wants, and `Launcher`: who starts them.

A launcher of another package is found by the entry point `streamgen.launchers`, as
`Class(address)`; `address` is where it starts things, as the user wrote it, or empty.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from streamgen.control.coordinator.places import keyed
from streamgen.control.keys import public_key
from streamgen.errors import ConfigError

USUAL_NAME = "streamgen"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,19}")


@dataclass(frozen=True, slots=True)
class Fleet:
    """Workers of one cluster, and what each gets. Raises `ConfigError` for what cannot be."""

    name: str
    """Of the cluster: its processes are found again by it."""
    workers: int
    coordinators: tuple[str, ...] = ()
    """Where they are, `host:port` or a folder; none: the launcher starts one, if it can."""
    key: Path | None = None
    """File of the workers' key, on the machines where they run. The key itself is sent nowhere."""
    coordinator_key: str | None = None
    cpus: int | None = None
    """Cores for each worker; None: its share of a machine."""
    gpus: int | None = None
    """Whole GPUs for each worker."""
    strict: bool = False
    """Each worker on a machine of its own, or none at all."""
    drain_s: float = 10.0
    """A worker that is told to end gives others so long to take over its streams."""
    outlive_s: float = 600.0
    """A worker goes on for so long when nobody holds it any more."""
    wait_s: float = 60.0
    """Machines with room may take so long to be found, or to be added by whoever adds them."""
    store: str | None = None
    """Of a coordinator that the launcher starts, as are those below: URL of its database."""
    http: str | None = None
    edge: Path | None = None
    """Configuration file of an edge to start, too."""
    jobs: bool = True
    """Workers make pieces of jobs in what streams leave."""

    def __post_init__(self) -> None:
        check_cluster(self.name)
        if any(keyed(place) for place in self.coordinators):
            if self.key is None or self.coordinator_key is None:
                raise ConfigError("coordinators at a port need --key and --coordinator-key")
            public_key(self.coordinator_key)

    def joining(self) -> list[str]:
        """The part of a worker's command line that leads it to the coordinators."""
        found = [part for place in self.coordinators for part in ("--cluster", place)]
        if self.key is not None:
            found += ["--key", str(self.key)]
        if self.coordinator_key is not None:
            found += ["--coordinator-key", self.coordinator_key]
        return [*found, "--drain", f"{self.drain_s:g}", "--supervised"]


@dataclass(frozen=True, slots=True)
class Launched:
    """A process of a fleet."""

    name: str
    """Of the worker, as its coordinators know it; or what it is instead."""
    machine: str
    state: str
    """`runs`; or why not, for a person."""
    pid: int | None = None


class Launcher(Protocol):
    def start(self, fleet: Fleet) -> None:
        """Returns when all of them run; or, where they are our children, when they have ended.

        Raises `ConfigError` and `StreamGenError` when they cannot be started; none is left then.
        """

    def list(self, cluster: str) -> Sequence[Launched]:
        """What there is of a cluster, also what nobody holds."""

    def restart(self, cluster: str, name: str) -> bool:
        """Have one of its processes ended and started again, and do not wait for that. False: none
        of that name runs."""

    def stop(self, cluster: str) -> int:
        """End all of a cluster, which is not an error when there is nothing; how many there were.
        Returns when they have ended."""


def check_cluster(name: str) -> None:
    """Raises `ConfigError`."""
    if not NAME.fullmatch(name):
        raise ConfigError(
            f"not a name for a cluster: '{name}' (letters, digits, _ . -; 20 at most)"
        )
