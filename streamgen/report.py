"""`Report`: what a run made and how, with the fields that `--report` and the API promise."""

from __future__ import annotations

import platform
import resource
from collections.abc import Mapping
from functools import cache
from importlib.metadata import version
from pathlib import Path

import av
from pydantic import BaseModel, ConfigDict, Field

from streamgen.config import cores
from streamgen.graph.graph import Node
from streamgen.session import Sent, Session
from streamgen.telemetry import Times


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
    """Pictures that it worked on."""
    reused: int = 0
    """Pictures for which its last result was taken again."""
    bypassed: int = 0
    """Pictures for which something else took the place of its result: its declared fallback, or
    its input because time was short."""
    failed: int = 0
    """Pictures that it failed on; all of them are among the bypassed or dropped."""
    breaker: str = ""
    """Live: `closed`, `open` or `half-open`."""


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
    """The first audio track as delivered; `av_offset_ms` is the largest distance between a
    sample's time in the source and in the output."""

    codec: str
    samples: int
    av_offset_ms: float


class GovernorReport(_Row):
    """Live: what is given up at present to be in time."""

    level: str
    """`full`, or the answer of `when_late` that was taken last."""
    changes: int
    """How often the level changed lately; the last 1000 are remembered."""
    reused: int
    """Pictures in whose place the one before was shown again."""


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
    governor: GovernorReport | None = None
    """None offline, where nothing is late."""
    steps: dict[str, Latency] = Field(default_factory=dict)
    """Time per call of every step of the journey."""
    queues: dict[str, int] = Field(default_factory=dict)
    """Highest fill of every queue, in its own units."""
    corrected: dict[str, int] = Field(default_factory=dict)
    """Timestamps mended, by kind."""
    lost: dict[str, int] = Field(default_factory=dict)
    """Packets that could not be decoded, by step; their pictures are among `dropped`."""
    corrupt: dict[str, int] = Field(default_factory=dict)
    """Damaged pictures that were shown all the same, by step."""
    converted: dict[str, int] = Field(default_factory=dict)
    """Pictures converted to what the pipeline works in, by kind."""
    copies: dict[str, int] = Field(default_factory=dict)
    """Plane copies by reason."""
    notes: list[str] = Field(default_factory=list)
    """What was said to the user: rungs left out, tracks dropped, sizes padded."""


class Progress(_Row):
    """Where a run stands; cheap enough to ask ten times a second, from any thread."""

    frames: int
    total_frames: int | None
    """As the container announces; None where it does not say."""
    fps: float
    elapsed_s: float
    left_s: float | None
    load: dict[str, float]
    """Share of the elapsed time that each step was at work, by step."""


def progress(session: Session) -> Progress:
    """Where this running session stands."""
    s = session
    publish(s)
    now_ns = s.ended_ns or s.telemetry.clock.now_ns()
    elapsed_s = (now_ns - s.started_ns) / 1e9 if s.started_ns else 0.0
    frames = _top(s).frames
    fps = frames / elapsed_s if elapsed_s else 0.0
    total = s.source.info.video.frames or None
    left_s = max(total - frames, 0) / fps if total and fps else None
    load = {
        step: round(times.total_ns / 1e9 / elapsed_s, 3)
        for step, times in s.telemetry.steps().items()
        if elapsed_s and step != "latency"
    }
    return Progress(
        frames=frames,
        total_frames=total,
        fps=fps,
        elapsed_s=elapsed_s,
        left_s=left_s,
        load=load,
    )


def measure(session: Session) -> Report:
    """The report of a session whose run is over, or of a live one so far; any thread.

    While it runs, pictures on their way are in `frames_in` and nowhere else yet.
    """
    s = session
    sent = _top(s)
    wall_s = ((s.ended_ns or s.telemetry.clock.now_ns()) - s.started_ns) / 1e9
    dropped = _dropped(s, sent.frames)
    publish(s)
    steps = s.telemetry.steps()
    frames = max(sent.frames, 1)
    return Report(
        frames_in=s.timeline.announced,
        frames_out=sent.frames,
        dropped=dropped,
        fps=sent.frames / wall_s if wall_s else 0.0,
        wall_s=wall_s,
        cpu_ms_per_frame=s.cpu_s * 1e3 / frames,
        copies_per_frame=s.meter.total / frames,
        peak_rss_mb=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        latency_ms=_latency(steps.get("latency", Times())),
        stages=[_stage(s, node) for node in s.graph.nodes],
        rungs=[_rung(s, number) for number in range(len(s.ladder.tracks))],
        audio=_audio(s),
        environment=_environment(s),
        governor=_governor(s),
        steps={step: _latency(times) for step, times in steps.items()},
        queues={name: queue.peak for name, queue in s.queues.items()},
        corrected=s.telemetry.counts("corrected"),
        lost=s.telemetry.counts("lost"),
        corrupt=s.telemetry.counts("corrupt"),
        converted=s.telemetry.counts("converted"),
        copies=dict(s.meter.planes),
        notes=list(s.notes),
    )


def _top(s: Session) -> Sent:
    return s.sent.get(s.ladder.tracks[0].name, Sent())


def _dropped(s: Session, frames_out: int) -> dict[str, int]:
    """Drops by reason. What was announced, and neither came out nor was dropped on purpose, was
    lost in the decoder (damaged packets, missing references), or with the top rung's encoder."""
    dropped = s.telemetry.counts("dropped")
    lost = s.timeline.announced - frames_out - sum(dropped.values())
    if lost > 0 and s.ended_ns:
        broken = s.ladder.tracks[0].name in s.telemetry.counts("rungs_lost")
        reason = "encoder" if broken else "decode"
        dropped[reason] = dropped.get(reason, 0) + lost
    return dropped


def publish(session: Session) -> None:
    """Set the gauges that only a look at the session gives: queues, copies, pictures in and out.

    Its threads go on meanwhile: the first packet of a track is a new entry."""
    s, gauge = session, session.telemetry.gauge
    for name, queue in s.queues.items():
        gauge("queue_fill", name, len(queue))
        gauge("queue_peak", name, queue.peak)
    for reason, planes in list(s.meter.planes.items()):
        gauge("plane_copies", reason, planes)
    gauge("frames", "in", s.timeline.announced)
    for name, sent in list(s.sent.items()):
        gauge("frames", name, sent.frames)


def _latency(times: Times) -> Latency:
    return Latency(
        p50=times.quantile_ms(0.5), p95=times.quantile_ms(0.95), p99=times.quantile_ms(0.99)
    )


def _stage(s: Session, node: Node) -> StageReport:
    counts = s.telemetry.counts
    return StageReport(
        name=node.name,
        p50_ms=node.times.quantile_ms(0.5),
        p99_ms=node.times.quantile_ms(0.99),
        frames=node.times.count,
        reused=counts("reused").get(node.name, 0),
        bypassed=counts("bypassed").get(node.name, 0),
        failed=counts("failed").get(node.name, 0),
        breaker="" if node.breaker is None else node.breaker.state.value,
    )


def _rung(s: Session, number: int) -> RungReport:
    track = s.ladder.tracks[number]
    sent = s.sent.get(track.name, Sent())
    length_s = float((sent.last_end - (sent.first_pts or 0)) * track.time_base)
    return RungReport(
        name=track.name.removeprefix("video/"),
        width=track.width,
        height=track.height,
        bitrate_bps=round(sent.size_bytes * 8 / length_s) if length_s > 0 else 0,
        frames=sent.frames,
        keyframes=sent.keyframes,
    )


def _audio(s: Session) -> AudioReport | None:
    if not s.sounds:
        return None
    path = next(iter(s.sounds.values()))
    return AudioReport(
        codec=path.track.codec,
        samples=path.samples_out,
        av_offset_ms=round(path.worst_offset_ms, 3),
    )


def _governor(s: Session) -> GovernorReport | None:
    if s.director is None:
        return None
    governor = s.director.governor
    return GovernorReport(
        level=governor.levels[governor.level].name,
        changes=len(governor.changes),
        reused=s.telemetry.counts("reused").get("frame", 0),
    )


def _environment(s: Session) -> Environment:
    running = list(s.engines.running.values())
    return Environment(
        cpu=_cpu_name(),
        cores=cores(),
        runtime=", ".join(dict.fromkeys(one.runtime for one in running)),
        precision=", ".join(dict.fromkeys(one.precision for one in running)),
        encoder=", ".join(dict.fromkeys(track.codec for track in s.ladder.tracks)),
        versions=_versions(),
    )


@cache
def _cpu_name() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return platform.processor() or platform.machine()
    for line in text.splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


@cache
def _versions() -> dict[str, str]:
    found = {name: version(name) for name in ("streamgen", "av", "numpy", "onnxruntime")}
    libraries: Mapping[str, tuple[int, int, int]] = av.library_versions
    found["libavcodec"] = ".".join(str(part) for part in libraries["libavcodec"])
    found["python"] = platform.python_version()
    return found
