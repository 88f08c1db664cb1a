"""`Local`: a cluster on this machine: a coordinator, workers and, if you like, an edge, as children
of the process that starts them."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from streamgen.config import own_database
from streamgen.control.launch.berths import Berths
from streamgen.control.launch.fleet import USUAL_NAME, Fleet, Launched
from streamgen.control.launch.holder import machine
from streamgen.control.launch.keeper import Keeper, Taken
from streamgen.control.logs import log_as_json
from streamgen.control.supervisor import Child
from streamgen.errors import ConfigError, StreamGenError

BERTH = "local"
TAKEOVER_S = 1.5
"""While a worker takes over what another had, that other is not started again: it takes a core."""


class Local:
    def __init__(self, address: str, folder: Path | None = None) -> None:
        """`folder`: where berths are; default: this user's. Raises `ConfigError`."""
        if address:
            raise ConfigError(f"only this machine, not '{address}': that needs another launcher")
        self._folder = folder

    def start(self, fleet: Fleet) -> None:
        """Main thread only. Raises `KeyboardInterrupt` when ended by Ctrl-C."""
        if fleet.cpus is not None or fleet.gpus is not None or fleet.strict:
            raise ConfigError("workers of one machine share it: no --cpus, --gpus, --strict here")
        berths = Berths(fleet.name, self._folder)
        log_as_json()
        try:
            with Keeper(berths.folder, BERTH, children(fleet, berths.folder)) as keeper:
                number = keeper.serve()
        except Taken as taken:
            raise StreamGenError(f"cluster '{fleet.name}' runs here already") from taken
        if number == signal.SIGINT:
            raise KeyboardInterrupt

    def list(self, cluster: str) -> Sequence[Launched]:
        kept = Berths(cluster, self._folder).look(BERTH)
        running = {} if kept is None else kept.running
        return [Launched(name, machine(), "runs", pid) for name, pid in running.items()]

    def restart(self, cluster: str, name: str) -> bool:
        return Berths(cluster, self._folder).restart(name)

    def stop(self, cluster: str) -> int:
        berths = Berths(cluster, self._folder)
        count = len(self.list(cluster))
        berths.end(BERTH)
        return count


def children(fleet: Fleet, folder: Path) -> list[Child]:
    """The processes of a cluster; `folder` has their sockets."""
    ours = [sys.executable, "-m", "streamgen.cli"]
    found = []
    # In their environment: a URL may have a password, and others see command lines.
    # That of the cluster that has no name of its own is where `streamgen jobs` looks, too.
    own = "state" if fleet.name == USUAL_NAME else f"cluster-{fleet.name}"
    store = os.environ["STREAMGEN_STORE"] = fleet.store or own_database(own)
    os.environ["STREAMGEN_JOBS_STORE"] = store if fleet.jobs else ""
    if not fleet.coordinators:
        place = folder / "coordinator"
        command = [*ours, "coordinator", "--folder", str(place), "--supervised"]
        if fleet.http is not None:
            command += ["--http", fleet.http]
        found.append(Child("coordinator", command, last=True))
        fleet = replace(fleet, coordinators=(str(place),))
    if fleet.edge is not None:
        found.append(_edge(fleet, ours, folder / "edge"))
    pause_s = TAKEOVER_S if fleet.workers > 1 else 0.0
    for number in range(fleet.workers):
        name = f"{fleet.name}-{number}"
        command = [*ours, "worker", "--name", name, "--share", str(fleet.workers)]
        found.append(Child(name, [*command, *fleet.joining()], last=True, pause_s=pause_s))
    return found


def _edge(fleet: Fleet, ours: Sequence[str], link: Path) -> Child:
    """Its own file says all but where the coordinators are."""
    link.mkdir(mode=0o700, exist_ok=True)
    os.environ["STREAMGEN_CLUSTER__COORDINATORS"] = f"[{', '.join(fleet.coordinators)}]"
    config = ["--config", str(Path(str(fleet.edge)).absolute())]
    command = [*ours, "edge", "--link", str(link), "--supervised", *config]
    return Child("edge", command, hears_deaths=True, reloads=True, leaves=True)
