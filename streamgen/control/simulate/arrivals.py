"""Who comes when, and for how long: drawn in advance, the same for the same seed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from streamgen.control.placement.resources import Profile, Standing
from streamgen.control.simulate.trace import MS, SECOND, StreamKind, Trace, Wave

LONG_TAIL = 0.8
"""Of the log-normal distribution of lengths: its sigma."""
RAMP_NS = 60 * SECOND
"""Those that are there at the start come within this time."""


@dataclass(frozen=True, slots=True)
class Arrival:
    at_ms: int
    name: str
    profile: Profile
    standing: Standing
    length_ms: int
    patience_ms: int | None


def arrivals(trace: Trace) -> list[Arrival]:
    """All of them, in the order in which they come. A Poisson process whose rate follows the
    wave, so that as many as it says would run at once if none were refused."""
    profiles = {one.name: one.profile() for one in trace.profiles}
    found: list[Arrival] = []
    for index, kind in enumerate(trace.streams):
        rng = np.random.default_rng((trace.seed, index))
        times = np.concatenate([_there_at_first(kind, rng), _coming(kind, trace.length, rng)])
        mean = kind.length / MS
        lengths = rng.lognormal(np.log(mean) - LONG_TAIL**2 / 2, LONG_TAIL, times.size)
        patience = kind.patience // MS if kind.standing.live else None
        found += [
            Arrival(
                int(at // MS),
                f"{kind.profile}-{index}-{number}",
                profiles[kind.profile],
                kind.standing,
                max(int(length), 1),
                patience,
            )
            for number, (at, length) in enumerate(zip(times, lengths, strict=True))
        ]
    return sorted(found, key=lambda one: (one.at_ms, one.name))


def wanted(wave: Wave, at_ns: NDArray[np.float64]) -> NDArray[np.float64]:
    """Streams at once."""
    turn: NDArray[np.float64] = np.cos(2 * np.pi * (at_ns - wave.high_at) / wave.period)
    low, high = wave.low, wave.high
    found: NDArray[np.float64] = low + (high - low) * (1 + turn) / 2
    return found


def _there_at_first(kind: StreamKind, rng: np.random.Generator) -> NDArray[np.float64]:
    number = rng.poisson(wanted(kind.running, np.zeros(1))[0])
    found: NDArray[np.float64] = rng.random(number) * RAMP_NS
    return found


def _coming(kind: StreamKind, length: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Drawn at the highest rate, and thinned."""
    number = rng.poisson(kind.running.high / kind.length * length)
    times = rng.random(number) * length
    kept = rng.random(number) * kind.running.high < wanted(kind.running, times)
    return np.sort(times[kept])
