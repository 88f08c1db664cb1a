"""`Trace`: what happens to a simulated cluster, as a user writes it."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, Field, model_validator

from streamgen.config import DurationNs, Settings
from streamgen.control.coordinator.places import ALIVE_S
from streamgen.control.placement.resources import DIMENSIONS, Profile, Resources, Standing
from streamgen.control.wire import SILENT_S
from streamgen.errors import ConfigError

MS = 1_000_000
"""Nanoseconds."""
SECOND = 1000 * MS
MINUTE = 60 * SECOND
STANDINGS = {one.name.lower().replace("_", "-"): one for one in Standing}


def vector_of(value: object) -> object:
    """A vector, written as its dimensions; those left out are 0."""
    if isinstance(value, dict):
        unknown = sorted(set(value) - set(DIMENSIONS))
        if unknown:
            raise ValueError(
                f"unknown dimension '{unknown[0]}' (there are: {', '.join(DIMENSIONS)})"
            )
        if not all(type(one) is int for one in value.values()):
            raise ValueError("needs and capacities are whole numbers")
        try:
            return Resources(**value)
        except ConfigError as error:
            raise ValueError(str(error)) from error
    return value


def standing_of(value: object) -> object:
    if value not in STANDINGS:
        raise ValueError(f"not a standing: {value!r} (there are: {', '.join(STANDINGS)})")
    return STANDINGS[str(value)]


Vector = Annotated[Resources, BeforeValidator(vector_of)]


class NodeKind(Settings):
    """Nodes that are alike."""

    name: str
    count: int = Field(ge=1, le=100_000)
    capacity: Vector


class ProfileKind(Settings):
    """What a pipeline at one size takes."""

    name: str
    needs: tuple[Vector, ...]
    """Whole, without enhancement, without the top rungs either."""
    models: tuple[str, ...] = ()

    def profile(self) -> Profile:
        return Profile(self.name, self.needs, frozenset(self.models))


class Wave(Settings):
    """How many streams of a kind there would be at once, over a day."""

    low: float = Field(ge=0)
    high: float = Field(gt=0)
    high_at: DurationNs = 20 * 60 * MINUTE
    """When it is highest."""
    period: DurationNs = 24 * 60 * MINUTE

    @model_validator(mode="after")
    def _in_order(self) -> Wave:
        if self.low > self.high:
            raise ValueError("low is above high")
        return self


class StreamKind(Settings):
    """Streams, or chunks of jobs, that are alike. They come by chance."""

    profile: str
    standing: Annotated[Standing, BeforeValidator(standing_of)] = Standing.LIVE_PAID
    running: Wave
    length: DurationNs
    """The mean; the lengths are drawn from a log-normal distribution."""
    patience: DurationNs = 5 * SECOND
    """How long a live stream waits for room; batch work waits as long as it takes."""


class Failures(Settings):
    """Nodes die by chance, independently."""

    every: DurationNs = 30 * 24 * 60 * MINUTE
    """Mean time from one failure of a node to its next."""
    back_after: DurationNs = 5 * MINUTE
    silent: float = Field(default=1.0, ge=0, le=1)
    """The share that closes no connection, as where power or a network fails. Of the others, whose
    processes end, edges know at once."""


class Restart(Settings):
    """Nodes are drained and started anew, one after the other."""

    at: DurationNs
    nodes: int = Field(ge=1)
    at_once: int = Field(default=1, ge=1)


class Leaders(Settings):
    """Coordinators that die."""

    die_at: tuple[DurationNs, ...] = ()
    away: DurationNs = 3 * SECOND
    """Until the next one has the lease."""


class Delays(Settings):
    """How long things take."""

    command: DurationNs = 20 * MS
    """From the coordinator to a node, or from an edge to the coordinator."""
    attach: DurationNs = 400 * MS
    """From the command to the first picture, networks loaded."""
    load: DurationNs = 4 * SECOND
    """More, where they have to be loaded."""
    keyframe: DurationNs = 1 * SECOND
    """Between key frames: a move waits for one."""
    heartbeat: DurationNs = round(ALIVE_S * SECOND)
    silence: DurationNs = round(SILENT_S * SECOND)
    """After so long an edge gives up a worker that is silent."""
    restart: DurationNs = 30 * SECOND
    """Of an empty node."""


class Trace(Settings):
    """A cluster, and what happens to it."""

    seed: int = 1
    length: DurationNs
    sample: DurationNs = 1 * MINUTE
    """How often the figures are taken."""
    head_room: float = Field(default=0.1, ge=0, lt=1)
    spread: float = Field(default=0.2, ge=0, le=1)
    """Standard deviation of what a stream takes at a moment, as a share of what was measured."""
    nodes: tuple[NodeKind, ...] = Field(min_length=1)
    profiles: tuple[ProfileKind, ...] = Field(min_length=1)
    streams: tuple[StreamKind, ...] = Field(min_length=1)
    failures: Failures | None = None
    restarts: tuple[Restart, ...] = ()
    leaders: Leaders = Leaders()
    delays: Delays = Delays()

    @model_validator(mode="after")
    def _names_are_known(self) -> Trace:
        known = {one.name for one in self.profiles}
        for kind in self.streams:
            if kind.profile not in known:
                raise ValueError(f"unknown profile '{kind.profile}'")
        try:
            for one in self.profiles:
                one.profile()
        except ConfigError as error:
            raise ValueError(str(error)) from error
        return self
