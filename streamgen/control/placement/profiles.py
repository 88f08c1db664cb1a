"""`Profiles`: what streams take: as it was measured, or else assumed by size and rate."""

from __future__ import annotations

from collections.abc import Iterable
from math import ceil
from pathlib import Path

from pydantic import Field

from streamgen.config import Settings, check, read_yaml
from streamgen.control.placement.resources import Profile, Resources
from streamgen.pipeline import Pipeline

STAGES_MS, PLAIN_MS = 50, 15
"""Of the processor for each megapixel, with stages and without; about what a style network with
three rungs, and three rungs alone, take on two cores of an AMD EPYC."""
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


class Profiles:
    """Whole streams only: workers do not yet give up a part of one, so no need but the first may
    be planned with."""

    def __init__(self, measured: Iterable[Measured] = ()) -> None:
        self._needs = {one.name: Resources(**one.needs[0].model_dump()) for one in measured}

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
        need = self._needs.get(name) or assumed(pipeline, width, height, rate)
        specs = pipeline.nodes()[0].values()
        models = frozenset(str(one.params["model"]) for one in specs if "model" in one.params)
        return Profile(name, (need,), models)


def assumed(pipeline: Pipeline, width: int, height: int, rate: float) -> Resources:
    """Where nothing was measured."""
    size = width * height / MEGAPIXEL
    cost = STAGES_MS if pipeline.nodes()[0] else PLAIN_MS
    return Resources(cpu_ms=ceil(cost * size * rate), memory_mb=ceil(LEAST_MB + STREAM_MB * size))
