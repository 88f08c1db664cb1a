"""How many devices 500 mixed streams take, and how long the coordinator thinks with 10,000 nodes.

The streams are drawn, with a fixed seed, from six kinds of pipelines whose needs on a GPU of 48 GB
with three decoders and three encoders are assumed, not measured. Beside vector best-fit with
head-room: a device for each stream, and fractions of a device (each stream the smallest 1/n that
holds its largest dimension, best-fit). The lower bound is the scarcest dimension's sum over a whole
device, without head-room. The coordinator has 40,000 streams of the same kinds, of all standings.

    python benchmarks/placing.py [--json]
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import astuple

import numpy as np

from streamgen.control.coordinator.commands import Assign, Command, Move, Refuse, Wait
from streamgen.control.coordinator.coordinator import Coordinator
from streamgen.control.coordinator.events import (
    Event,
    LeaseGained,
    NodeRegistered,
    StreamReleased,
    StreamWanted,
    WorkerLost,
)
from streamgen.control.placement.resources import Profile, Resources, Standing, lower_bound
from streamgen.control.placement.scheduler import Placed, Scheduler, Work

DEVICE = Resources(32_000, 1000, 192_000, 48_000, 3000, 3000)
MIX = {
    Profile("style-720", (Resources(900, 110, 900, 1600, 60, 190),)): 0.30,
    Profile("style-1080", (Resources(1300, 230, 1500, 2900, 130, 420),)): 0.20,
    Profile("enhance-1080", (Resources(1500, 330, 1800, 4200, 130, 420),)): 0.12,
    Profile("upscale-4k", (Resources(2600, 480, 3600, 7800, 140, 1150),)): 0.08,
    Profile("diffusion", (Resources(1200, 620, 3800, 17_500, 60, 190),)): 0.08,
    Profile("transcode", (Resources(1500, 25, 800, 700, 130, 520),)): 0.22,
}


def mixed(number: int, seed: int) -> list[Profile]:
    kinds = list(MIX)
    drawn = np.random.default_rng(seed).choice(len(kinds), number, p=list(MIX.values()))
    return [kinds[int(index)] for index in drawn]


def fractions(profiles: list[Profile]) -> int:
    """Devices with scalar fractions."""
    used: list[float] = []
    for profile in profiles:
        largest = max(
            a / b for a, b in zip(astuple(profile.needs[0]), astuple(DEVICE), strict=True)
        )
        share = 1 / int(1 / largest)
        fits = [index for index, taken in enumerate(used) if taken + share <= 1 + 1e-9]
        if fits:
            used[max(fits, key=used.__getitem__)] += share
        else:
            used.append(share)
    return len(used)


def packed(profiles: list[Profile]) -> dict[str, float]:
    """What is in use and over-committed is added up here, whatever the scheduler has booked."""
    scheduler = Scheduler()
    for number in range(len(profiles)):
        scheduler.add(f"node-{number}", DEVICE)
    taken: dict[str, Resources] = {}
    for number, profile in enumerate(profiles):
        answer = scheduler.place(Work(f"stream-{number}", profile, Standing.LIVE_PAID))
        assert isinstance(answer, Placed) and not (answer.cut or answer.lowered), answer
        taken[answer.node] = taken.get(answer.node, Resources()) + profile.needs[0]
    bound = lower_bound([one.needs[0] for one in profiles], [DEVICE] * len(profiles))
    return {
        "lower_bound": bound,
        "devices": len(taken),
        "devices_over_bound": len(taken) / bound,
        "exclusive_over_bound": len(profiles) / bound,
        "fractions_over_bound": fractions(profiles) / bound,
        "over_commits": sum(not one.fits(DEVICE) for one in taken.values()),
    }


class Thinking:
    """A coordinator with many nodes, and the processor time of each of its decisions: an owner,
    a no, a place among those that wait. One event may ask for several; they share its time."""

    def __init__(self, nodes: int, streams: int) -> None:
        self._coordinator = Coordinator(b"of a benchmark")
        self._number = 0
        self._kinds = mixed(5_000, 11)
        self._took: list[float] = []
        self.say(LeaseGained(1))
        for number in range(nodes):
            self.say(NodeRegistered(f"node-{number}", "", DEVICE))
        for _ in range(streams):
            self.want()

    def say(self, event: Event) -> list[Command]:
        began = time.thread_time_ns()
        commands = self._coordinator.handle(event, 0)
        took_ms = (time.thread_time_ns() - began) / 1e6
        decided = sum(isinstance(one, Assign | Move | Refuse | Wait) for one in commands)
        self._took += [took_ms / max(decided, 1)] * decided
        return commands

    def want(self, standing: Standing | None = None) -> list[Command]:
        number = self._number
        self._number += 1
        profile = self._kinds[number % len(self._kinds)]
        standing = Standing(number % 4) if standing is None else standing
        return self.say(StreamWanted(Work(f"stream-{number}", profile, standing), 0))

    def comes_and_goes(self, decisions: int) -> list[float]:
        """As many streams come as go; every twentieth time a node dies."""
        self._took.clear()
        cluster = self._coordinator.cluster
        assert cluster is not None
        rng = np.random.default_rng(5)
        while len(self._took) < decisions:
            names = list(cluster.streams)
            for index in rng.choice(len(names), 20, replace=False):
                self.say(StreamReleased(names[index]))
                self.want()
            self.say(WorkerLost(next(iter(cluster.nodes)).name))
        return list(self._took)

    def full(self, decisions: int) -> list[float]:
        """More come than there is room for."""
        refused = False
        while not refused:
            refused = any(isinstance(one, Refuse) for one in self.want(Standing.LIVE_PAID))
        self._took.clear()
        while len(self._took) < decisions:
            self.want()
        return list(self._took)


def thinking(nodes: int, streams: int, decisions: int) -> dict[str, float]:
    """Milliseconds of processor time per decision of the coordinator."""
    coordinator = Thinking(nodes, streams)
    answer = {}
    for name, took in (
        ("decision", coordinator.comes_and_goes(decisions)),
        ("decision_full", coordinator.full(decisions)),
    ):
        for q in (50, 99):
            answer[f"{name}_p{q}_ms"] = float(np.percentile(took, q))
    return answer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nodes", type=int, default=10_000, help="with four streams for each")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    answer = packed(mixed(500, 7)) | thinking(options.nodes, 4 * options.nodes, 2_000)
    if options.json:
        print(json.dumps(answer))
        return
    for name, value in answer.items():
        print(f"{name:<22}{value:>10.3f}")


if __name__ == "__main__":
    main()
