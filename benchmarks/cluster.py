"""How many devices 500 mixed streams take, and how long the scheduler thinks with 10,000 nodes.

The streams are drawn, with a fixed seed, from six kinds of pipelines whose needs on a GPU of 48 GB
with three decoders and three encoders are assumed, not measured. Beside vector best-fit with
head-room: a device for each stream, and fractions of a device (each stream the smallest 1/n that
holds its largest dimension, best-fit). The lower bound is the scarcest dimension's sum over a whole
device, without head-room.

    python benchmarks/cluster.py [--json]
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import astuple

import numpy as np

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
    scheduler = Scheduler()
    for number in range(len(profiles)):
        scheduler.add(f"node-{number}", DEVICE)
    for number, profile in enumerate(profiles):
        answer = scheduler.place(Work(f"stream-{number}", profile, Standing.LIVE_PAID))
        assert isinstance(answer, Placed), answer
    bound = lower_bound([one.needs[0] for one in profiles], [DEVICE] * len(profiles))
    return {
        "lower_bound": bound,
        "devices": scheduler.bins.used(),
        "devices_over_bound": scheduler.bins.used() / bound,
        "exclusive_over_bound": len(profiles) / bound,
        "fractions_over_bound": fractions(profiles) / bound,
        "over_commits": int((scheduler.bins.free < 0).sum()),
    }


def thinking(nodes: int, decisions: int) -> dict[str, float]:
    """CPU milliseconds of one placement and one release, most nodes in use."""
    scheduler = Scheduler()
    for number in range(nodes):
        scheduler.add(f"node-{number}", DEVICE)
    kinds = mixed(decisions, 11)
    for number in range(nodes):  # most nodes hold something
        scheduler.book(
            Work(f"there-{number}", kinds[number % len(kinds)], Standing(number % 4)),
            f"node-{number}",
        )
    took = []
    for number, profile in enumerate(kinds):
        work = Work(f"stream-{number}", profile, Standing(number % 4))
        began = time.process_time_ns()
        answer = scheduler.place(work)
        took.append((time.process_time_ns() - began) / 1e6)
        assert isinstance(answer, Placed), answer
    p50, p99 = np.quantile(took, [0.5, 0.99])
    return {"decision_p50_ms": float(p50), "decision_p99_ms": float(p99)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    answer = packed(mixed(500, 7)) | thinking(10_000, 5_000)
    if options.json:
        print(json.dumps(answer))
        return
    for name, value in answer.items():
        print(f"{name:<22}{value:>10.3f}")


if __name__ == "__main__":
    main()
