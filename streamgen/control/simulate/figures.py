"""What a simulation is asked: how full the nodes were, who was refused, what took how long."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from streamgen.control.placement.bins import Bins
from streamgen.control.placement.resources import DIMENSIONS

TIMES = np.array([name.endswith("_ms") for name in DIMENSIONS])


@dataclass(frozen=True, slots=True)
class Sample:
    """The cluster at a moment."""

    at_ms: int
    nodes: int
    used: int
    lower_bound: int
    """Fewer could not carry what runs, without any head-room."""
    running: int
    waiting: int
    moves: int
    """Since the start."""
    refused: int
    late: float
    """Share of pictures that miss their time, since nodes have more to do than was measured."""


@dataclass(slots=True)
class Figures:
    """Filled while the simulation runs. Times in milliseconds of the virtual clock."""

    arrived: int = 0
    started: list[int] = field(default_factory=list)
    """From the wish to the first picture."""
    refused: int = 0
    gaps: list[int] = field(default_factory=list)
    """From a node's death to the next picture, by stream."""
    ended_in_gap: int = 0
    moves: int = 0
    preempted: int = 0
    node_failures: int = 0
    restarts: int = 0
    over_commits: int = 0
    samples: list[Sample] = field(default_factory=list)
    decision_ns: list[tuple[float, int]] = field(default_factory=list)
    """Of the coordinator: processor time for each decision of an event, and how many."""
    other_ns: int = 0
    """Its processor time for events that decided nothing."""
    taking_over_ns: list[int] = field(default_factory=list)
    """Of a new leader, to take up what there is."""


def lower_bound(bins: Bins, head_room: float) -> int:
    """Of each dimension the largest nodes that together have what is in use; the most of these."""
    free = np.ones(len(DIMENSIONS))
    free[TIMES] = 1 - head_room
    load = bins.load().sum(axis=1)
    have = np.cumsum(-np.sort(-(bins.limit / free[:, None]), axis=1), axis=1)
    counts = [
        int(np.searchsorted(row, need - 1e-6)) + 1
        for row, need in zip(have, load, strict=True)
        if need > 0
    ]
    return max(counts, default=0)


def late(bins: Bins, head_room: float, spread: float, rng: np.random.Generator) -> float:
    """Each stream takes more or less than was measured; where a node's sum is above what it has,
    the rest of the pictures is late."""
    items = np.maximum(bins.items, 1)
    load = bins.load()[TIMES].astype(np.float64)
    actual = load * (1 + spread / np.sqrt(items) * rng.standard_normal(load.shape))
    have = bins.limit[TIMES] / (1 - head_room)
    share = 1 - np.minimum(1, have / np.maximum(actual, 1))
    worst: NDArray[np.float64] = share.max(axis=0)
    number = bins.items.sum()
    return float((worst * bins.items).sum() / number) if number else 0.0


def summary(figures: Figures) -> dict[str, float]:
    """One number each."""
    samples = figures.samples
    ratios = [one.used / one.lower_bound for one in samples if one.lower_bound]
    fullest = max(samples, key=lambda one: one.lower_bound, default=None)
    pictures = sum(one.running for one in samples)
    times = np.repeat(*_columns(figures.decision_ns)) / 1e6
    answer = {
        "streams": figures.arrived,
        "running_most": max((one.running for one in samples), default=0),
        "nodes_over_lower_bound": float(np.mean(ratios)) if ratios else 0.0,
        "nodes_over_lower_bound_fullest": fullest.used / fullest.lower_bound
        if fullest is not None and fullest.lower_bound
        else 0.0,
        "over_commits": figures.over_commits,
        "refused_percent": 100 * figures.refused / max(figures.arrived, 1),
        "late_pictures_percent": 100
        * sum(one.late * one.running for one in samples)
        / max(pictures, 1),
        "moves": figures.moves,
        "preempted": figures.preempted,
        "restarts": figures.restarts,
        "node_failures": figures.node_failures,
        "takeovers": len(figures.gaps),
        "ended_in_a_gap": figures.ended_in_gap,
    }
    for name, values in (("start", figures.started), ("takeover_gap", figures.gaps)):
        for q in (50, 99):
            answer[f"{name}_p{q}_ms"] = float(np.percentile(values, q)) if values else 0.0
    answer["decisions"] = int(times.size)
    for q in (50, 99):
        answer[f"decision_cpu_p{q}_ms"] = float(np.percentile(times, q)) if times.size else 0.0
    answer["coordinator_cpu_s"] = (
        sum(n * t for t, n in figures.decision_ns) + figures.other_ns
    ) / 1e9
    answer["leader_taking_over_cpu_ms"] = max(figures.taking_over_ns, default=0) / 1e6
    return answer


def _columns(pairs: list[tuple[float, int]]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    return np.array([t for t, _ in pairs], np.float64), np.array([n for _, n in pairs], np.int64)
