"""`Ray`: workers placed by Ray, on as many machines as it has. Nothing else here imports it.

Ray decides where workers are, and starts again what died with a machine. What it starts are
detached actors, each in a bundle of one placement group; an actor is a `Holder` and no more. The
workers themselves are no children of Ray's: when its head is lost, Ray ends its actors after a
minute, with all their descendants, and streams run on. Actors that come later find them again. No
frame and nothing for a frame goes through Ray; workers do not load it and do not know of it.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import GetTimeoutError, RayError
from ray.util.placement_group import placement_group, remove_placement_group
from ray.util.scheduling_strategies import (
    NodeAffinitySchedulingStrategy,
    PlacementGroupSchedulingStrategy,
)

from streamgen.config import cores
from streamgen.control.launch.berths import Berths
from streamgen.control.launch.fleet import Fleet, Launched
from streamgen.control.launch.holder import Holder, machine
from streamgen.errors import ConfigError, StreamGenError

NAMESPACE = "streamgen"
PLACED_WITHIN_S = 60.0
ANSWERS_WITHIN_S = 20.0
ENDS_WITHIN_S = 90.0
POLL_S = 0.2
ORPHAN_S = 0.5
MOST_SHARES = 64
NOT_THEIRS = "RAY_"
"""What Ray tells its processes is none of a worker's business."""


class Post:
    """The actor: holds one worker on the machine where Ray put it."""

    def __init__(self, fleet: Fleet, folder: Path | None) -> None:
        gpus = sorted(map(str, ray.get_gpu_ids())) if fleet.gpus else []
        assert fleet.cpus is not None
        share = max(1, min(MOST_SHARES, -(-cores() // fleet.cpus)))
        self._holder = Holder(
            fleet,
            share=share,
            berth=f"gpu{'-'.join(gpus)}" if gpus else None,
            environment=own_environment(os.environ),
            folder=folder,
        )
        self._holder.start()
        raylet = os.getppid()
        threading.Thread(target=_end_with, args=(raylet,), name="raylet", daemon=True).start()

    def state(self) -> tuple[str, str, str, int | None]:
        """As `Launched` has it."""
        name, state, pid = self._holder.state()
        return name, machine(), state, pid

    def stop(self) -> None:
        self._holder.stop()


def _end_with(raylet: int) -> None:
    """An actor whose node of Ray has died is none any more, and lives on for minutes: what it
    holds is for the next."""
    while os.getppid() == raylet:
        time.sleep(ORPHAN_S)
    os._exit(1)


def own_environment(given: Mapping[str, str]) -> dict[str, str]:
    return {key: value for key, value in given.items() if not key.startswith(NOT_THEIRS)}


def kept_here(cluster: str, folder: Path | None) -> list[tuple[str, str, str, int | None]]:
    """Runs on every machine: what keepers keep there, whoever holds it."""
    return [
        (name, machine(), "runs" if kept.held else "runs, held by nobody", pid)
        for _, kept in Berths(cluster, folder).all()
        if kept is not None
        for name, pid in kept.running.items()
    ]


def restart_here(cluster: str, folder: Path | None, name: str) -> bool:
    """Runs on every machine."""
    return Berths(cluster, folder).restart(name)


def end_all(cluster: str, folder: Path | None) -> int:
    """Runs on every machine."""
    return Berths(cluster, folder).end_all()


class Ray:
    def __init__(self, address: str, folder: Path | None = None) -> None:
        """`address`: of Ray's head, `auto` or empty: as Ray finds it. `folder`: of berths, on its
        machines. Raises `StreamGenError` when no Ray is there: none is started."""
        self._folder = folder
        os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
        if not ray.is_initialized():
            try:
                ray.init(
                    address=address or "auto",
                    namespace=NAMESPACE,
                    log_to_driver=False,
                    logging_level=logging.ERROR,
                )
            except (ConnectionError, RayError, ValueError) as error:
                raise StreamGenError(f"no Ray at {address or 'auto'}: {error}") from error

    def start(self, fleet: Fleet) -> None:
        if not fleet.coordinators:
            raise ConfigError("workers that Ray places need --cluster: where the coordinators are")
        if fleet.edge is not None or fleet.store is not None or fleet.http is not None:
            raise ConfigError("--store, --http and --edge are for a cluster on one machine")
        if self._posts(fleet.name) or self._group(fleet.name) is not None:
            raise StreamGenError(f"'{fleet.name}' is up; streamgen cluster down ends it")
        share = self._share(fleet)
        fleet = replace(fleet, cpus=int(share["CPU"]))
        group = placement_group(
            [dict(share) for _ in range(fleet.workers)],
            strategy="STRICT_SPREAD" if fleet.strict else "SPREAD",
            name=_group_name(fleet.name),
            lifetime="detached",
        )
        placed = False
        try:
            self._place(fleet, group, share)
            placed = True
        finally:
            if not placed:
                self.stop(fleet.name)

    def list(self, cluster: str) -> Sequence[Launched]:
        asked = [(name, post.state.remote()) for name, post in self._posts(cluster)]
        kept = self._everywhere(kept_here, cluster, self._folder)
        rows = {}
        for answer in kept:  # a machine that has just gone has nothing to say
            with suppress(RayError, GetTimeoutError):
                for row in ray.get(answer, timeout=ANSWERS_WITHIN_S):
                    rows[row[:2]] = Launched(*row)
        for name, answer in asked:
            try:
                row = ray.get(answer, timeout=ANSWERS_WITHIN_S)
            except (RayError, GetTimeoutError):
                row = (name, "", "is being placed", None)
            rows[row[:2]] = Launched(*row)
        return [rows[key] for key in sorted(rows)]

    def restart(self, cluster: str, name: str) -> bool:
        answers = self._everywhere(restart_here, cluster, self._folder, name)
        with suppress(RayError, GetTimeoutError):
            return any(ray.get(answers, timeout=ANSWERS_WITHIN_S))
        return False

    def stop(self, cluster: str) -> int:
        posts = self._posts(cluster)
        stopped = [post.stop.remote() for _, post in posts]
        if stopped:  # an actor that is nowhere does not answer, and has nothing either
            ray.wait(stopped, num_returns=len(stopped), timeout=ENDS_WITHIN_S)
        for _, post in posts:
            ray.kill(post, no_restart=True)
        group = self._group(cluster)
        if group is not None:
            remove_placement_group(group)
        return max(len(posts), self._sweep(cluster))

    def _share(self, fleet: Fleet) -> dict[str, float]:
        """What each worker gets of a machine. Raises `StreamGenError` when none has it."""
        sizes = [(int(of.get("CPU", 0)), int(of.get("GPU", 0))) for of in map(_resources, _nodes())]
        if fleet.gpus is not None:
            each = [cpus * fleet.gpus // gpus for cpus, gpus in sizes if gpus >= fleet.gpus]
            if not each:
                raise StreamGenError(f"Ray has no machine with {fleet.gpus} GPUs")
            return {"GPU": fleet.gpus, "CPU": fleet.cpus or max(1, min(each))}
        used = sorted((cpus for cpus, _ in sizes if cpus), reverse=True)[: fleet.workers]
        if not used:
            raise StreamGenError("Ray has no machine with cores")
        together = -(-fleet.workers // len(used))
        return {"CPU": fleet.cpus or max(1, used[-1] // together)}

    def _place(self, fleet: Fleet, group: Any, share: Mapping[str, float]) -> None:
        if not group.wait(fleet.wait_s):
            each = ", ".join(f"{amount:g} {what}" for what, amount in share.items())
            apart = ", each on a machine of its own" if fleet.strict else ""
            raise StreamGenError(f"Ray has no room for {fleet.workers} workers of {each}{apart}")
        logging.getLogger("ray.actor").setLevel(logging.ERROR)  # they are to end with the group
        post = ray.remote(Post)
        posts = [
            post.options(
                name=f"{fleet.name}.{number}",
                lifetime="detached",
                max_restarts=-1,
                max_concurrency=4,
                num_cpus=share.get("CPU", 0),
                num_gpus=share.get("GPU", 0),
                scheduling_strategy=PlacementGroupSchedulingStrategy(group, number),
            ).remote(fleet, self._folder)
            for number in range(fleet.workers)
        ]
        try:
            while True:
                states = [state for _, _, state, _ in _answers(posts)]
                wrong = [state for state in states if state.startswith("cannot")]
                if wrong:
                    raise ConfigError(f"a worker {wrong[0]}")
                if all(state == "runs" for state in states):
                    return
                time.sleep(POLL_S)
        except (RayError, GetTimeoutError) as error:
            raise StreamGenError(f"Ray did not start the workers: {error}") from error

    def _posts(self, cluster: str) -> Sequence[tuple[str, Any]]:
        found = ray.util.list_named_actors(all_namespaces=True)
        names = [one["name"] for one in found if one["namespace"] == NAMESPACE]
        ours = [name for name in sorted(names) if name.rpartition(".")[0] == cluster]
        posts = []
        for name in ours:
            with suppress(ValueError):  # it has ended since
                posts.append((name, ray.get_actor(name, namespace=NAMESPACE)))
        return posts

    def _group(self, cluster: str) -> Any:
        """None: there is none."""
        try:
            return ray.util.get_placement_group(_group_name(cluster))
        except ValueError:
            return None

    def _sweep(self, cluster: str) -> int:
        """On every machine. Raises `StreamGenError` when some do not say that they are done."""
        count, silent = 0, 0
        for answer in self._everywhere(end_all, cluster, self._folder):
            try:
                count += ray.get(answer, timeout=ENDS_WITHIN_S)
            except (RayError, GetTimeoutError):
                silent += 1
        if silent:
            raise StreamGenError(f"{silent} machines do not say that nothing of it is left there")
        return count

    def _everywhere(self, what: Any, *arguments: Any) -> Sequence[Any]:
        found = []
        for node in _nodes():
            there = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
            task = ray.remote(what).options(num_cpus=0, scheduling_strategy=there)
            found.append(task.remote(*arguments))
        return found


def _nodes() -> Sequence[dict[str, Any]]:
    return [node for node in ray.nodes() if node["Alive"]]


def _resources(node: Mapping[str, Any]) -> Mapping[str, float]:
    found: Mapping[str, float] = node["Resources"]
    return found


def _answers(posts: Sequence[Any]) -> Sequence[tuple[str, str, str, int | None]]:
    answers = [post.state.remote() for post in posts]
    return list(ray.get(answers, timeout=PLACED_WITHIN_S))


def _group_name(cluster: str) -> str:
    return f"streamgen-{cluster}"
