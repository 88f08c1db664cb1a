"""`Report`: what a run made and how, with the fields that `--report` and the API promise."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class _Row(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Latency(_Row):
    """From the packet that announced a picture to the last byte of its top rung, milliseconds."""

    p50: float
    p95: float
    p99: float


class StageReport(_Row):
    """One stage: time per picture from submission to completion."""

    name: str
    p50_ms: float
    p99_ms: float
    frames: int
    reused: int = 0
    bypassed: int = 0


class RungReport(_Row):
    """One rung of the ladder, as encoded."""

    name: str
    width: int
    height: int
    bitrate_bps: int
    """Measured over the whole run."""
    frames: int
    keyframes: int


class AudioReport(_Row):
    """The first audio track as delivered; `av_offset_ms` is audio start minus video start,
    output against input."""

    codec: str
    samples: int
    av_offset_ms: float


class Environment(_Row):
    """What the figures were measured on."""

    cpu: str
    cores: int
    runtime: str
    precision: str
    encoder: str
    versions: dict[str, str]


class Report(_Row):
    """One finished run. `frames_in == frames_out + sum(dropped.values())` for the top rung."""

    frames_in: int
    """Pictures announced by packets on the timeline."""
    frames_out: int
    dropped: dict[str, int]
    fps: float
    wall_s: float
    cpu_ms_per_frame: float
    copies_per_frame: float
    """Plane copies by us, per picture."""
    peak_rss_mb: float
    latency_ms: Latency
    stages: list[StageReport]
    rungs: list[RungReport]
    audio: AudioReport | None
    environment: Environment
    steps: dict[str, Latency] = Field(default_factory=dict)
    """Time per call of every step of the journey."""
    queues: dict[str, int] = Field(default_factory=dict)
    """Highest fill of every queue, in its own units."""
    corrected: dict[str, int] = Field(default_factory=dict)
    """Timestamps mended, by kind."""
    converted: dict[str, int] = Field(default_factory=dict)
    """Pictures converted to what the pipeline works in, by kind."""
    copies: dict[str, int] = Field(default_factory=dict)
    """Plane copies by reason."""
    notes: list[str] = Field(default_factory=list)
    """What was said to the user: rungs left out, tracks dropped, sizes padded."""
