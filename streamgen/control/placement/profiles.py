"""`Profiles`: what streams take: as it was measured, or else assumed by size and rate."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from math import ceil
from pathlib import Path

from pydantic import Field

from streamgen.config import Settings, check, read_yaml
from streamgen.control.placement.networks import Network
from streamgen.control.placement.resources import Profile, Resources, Subject
from streamgen.pipeline import Pipeline

STAGES_MS, PLAIN_MS, LOWEST_MS = 50, 15, 5
"""Of the processor for each megapixel, with stages, without, and for the lowest rung alone; about
what a style network with three rungs, three rungs alone, and the lowest of them take on two cores
of an AMD EPYC."""
LEAST_MB, STREAM_MB = 300, 150
"""Memory: of any stream, and more for each megapixel."""
MEGAPIXEL = 1_000_000


class Need(Settings):
    """What a second takes."""

    cpu_ms: int = Field(default=0, ge=0)
    gpu_ms: int = Field(default=0, ge=0)
    memory_mb: int = Field(default=0, ge=0)
    gpu_memory_mb: int = Field(default=0, ge=0)
    decoder_ms: int = Field(default=0, ge=0)
    encoder_ms: int = Field(default=0, ge=0)


class Measured(Settings):
    """One of what `streamgen profile` prints."""

    name: str
    needs: tuple[Need, ...] = Field(min_length=1)


class _File(Settings):
    profiles: tuple[Measured, ...]


def name_of(pipeline: str, height: int, rate: float) -> str:
    """As `streamgen profile` names them."""
    return f"{pipeline}-{height}p{rate:g}"


def subject_of(pipeline: Pipeline, width: int, height: int, rate: float) -> Subject:
    """What a measurement of this would be of. The name alone would not do: files change."""
    return Subject(f"{pipeline.name}-{pipeline.digest()[:16]}", width, height, round(rate))


class Profiles:
    """What runs gives up time, but no memory: it keeps its networks, so that what was given up can
    come back at once."""

    def __init__(self, measured: Iterable[Measured] = ()) -> None:
        self._needs = {
            one.name: tuple(Resources(**need.model_dump()) for need in one.needs)
            for one in measured
        }

    @classmethod
    def of(cls, path: Path | None) -> Profiles:
        """From a file: a list below `profiles`. Raises `ConfigError`."""
        if path is None:
            return cls()
        value, _ = read_yaml(path)
        return cls(check(_File, value, name=str(path)).profiles)

    def profile(self, pipeline: Pipeline, width: int, height: int, rate: float) -> Profile:
        """Of a stream of this size."""
        name = name_of(pipeline.name, height, rate)
        needs = self._needs.get(name) or assumed(pipeline, width, height, rate)
        specs = pipeline.nodes()[0].values()
        models = (str(one.params["model"]) for one in specs if "model" in one.params)
        sized = frozenset(Network(model, width, height).text for model in models)
        subject = subject_of(pipeline, width, height, rate)
        return Profile(name, _given_up(pipeline, needs), sized, subject)


def _given_up(pipeline: Pipeline, needs: tuple[Resources, ...]) -> tuple[Resources, ...]:
    """Whole, without enhancement, without the top rungs either, as far as that may be planned
    with: whose pictures may not be shown raw gives up nothing."""
    whole, *less = needs
    if not pipeline.nodes()[0]:
        less = [whole, *less[-1:]] if less else []  # there are only rungs to give up
    elif all(answer.kind != "passthrough" for answer in pipeline.live.when_late):
        less = []
    memory = {"memory_mb": whole.memory_mb, "gpu_memory_mb": whole.gpu_memory_mb}
    return whole, *(replace(one, **memory) for one in less)


def assumed(pipeline: Pipeline, width: int, height: int, rate: float) -> tuple[Resources, ...]:
    """Where nothing was measured."""
    size = width * height / MEGAPIXEL
    costs = [PLAIN_MS]
    if pipeline.nodes()[0]:
        costs.insert(0, STAGES_MS)
    if len(pipeline.ladder) > 1:
        costs.append(LOWEST_MS)
    memory_mb = ceil(LEAST_MB + STREAM_MB * size)
    return tuple(Resources(cpu_ms=ceil(one * size * rate), memory_mb=memory_mb) for one in costs)
