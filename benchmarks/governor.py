"""A live stream under too much work: does it keep its latency budget, and how often does it change?

Real codecs, a clip at its own speed, one style stage whose network is an amount of work that can be
set: `steady` is twice what fits between two frames; `swings` goes up and down once a second around
what just fits, and falls to a quarter of it for the last ten seconds. The work keeps one core
busy, so it takes time from the encoders too, as a network does. `--json` for one JSON line per run.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from streamgen.graph.lane import Lane
from streamgen.graph.levels import Show
from streamgen.ingest.container import open_source
from streamgen.ingest.pace import Paced
from streamgen.media.frame import Plane
from streamgen.opening import open_session
from streamgen.pipeline import Pipeline
from streamgen.protocols import Inputs, Mode, ModelSpec, Running, Source, Ticket
from streamgen.report import measure
from streamgen.session import Session, run
from streamgen.telemetry import MonotonicClock, Telemetry, Times
from streamgen.testing import Basket, LateFence, synthetic_clip

FPS = 30
FALL_S = 10
LOW = 0.25
Load = Callable[[float], float]
"""Work over the time between two frames, at this second of the run."""


class Work:
    """A runtime that keeps a core busy for as long as the load says, and inverts the picture."""

    def __init__(self, load: Load, began_s: list[float]) -> None:
        self._load = load
        self._began_s = began_s
        self._grain = np.ones((64, 64), np.float32)

    def submit(self, inputs: Inputs, out: Mapping[str, Plane]) -> Ticket:
        begun_s = time.monotonic()
        since_s = begun_s - self._began_s[0] if self._began_s else 0.0
        until_s = begun_s + self._load(since_s) / FPS
        for name in "yuv":
            plane = inputs[name]
            assert isinstance(plane, Plane)
            np.subtract(255, plane.array(), out=out[f"{name}_out"].array())
        while time.monotonic() < until_s:
            self._grain @ self._grain
        return Done(round((time.monotonic() - begun_s) * 1e9))

    def close(self) -> None: ...


@dataclass
class Done:
    """A ticket of work that is over."""

    busy_ns: int

    @property
    def fence(self) -> LateFence:
        return LateFence(0.0)


class Engines:
    """Gives the same work to every stage."""

    requests = 1

    def __init__(self, load: Load) -> None:
        self.running: dict[str, Running] = {}
        self.began_s: list[float] = []
        self._load = load

    def open(
        self, model: ModelSpec, width: int, height: int, *, matrix: str, full_range: bool
    ) -> Work:
        return Work(self._load, self.began_s)


class Remembered(Times):
    """Keeps when each duration came."""

    def __init__(self) -> None:
        super().__init__()
        self.all: list[tuple[float, float]] = []

    def add(self, duration_ns: int) -> None:
        super().add(duration_ns)
        self.all.append((time.monotonic(), duration_ns / 1e6))


def p99(rows: list[tuple[float, float]]) -> float:
    values = sorted(ms for _, ms in rows)
    return values[int(0.99 * len(values))] if values else 0.0


def live(clip: Path, load: Load, seconds: int, when_late: list[str]) -> tuple[Session, Remembered]:
    """One session over the clip, as long as asked for."""

    def again() -> Source:
        return open_source(str(clip))

    clip_s = again().info.duration_s or 1
    pipeline = Pipeline.model_validate(
        {
            "name": "governed",
            "stages": [{"style": {"model": "starry"}}],
            "ladder": [{"height": "source", "bitrate": "1M"}, {"height": 180, "bitrate": "300k"}],
            "audio": {"codec": "none"},
            "live": {"latency_budget": "150ms", "when_late": when_late},
        }
    )
    telemetry, engines, latency = Telemetry(), Engines(load), Remembered()
    telemetry._times["latency"] = latency
    source = Paced(again(), MonotonicClock(), again=again, loops=max(1, round(seconds / clip_s)))
    with Lane() as lane:
        session = open_session(
            pipeline,
            source,
            [Basket()],
            lane=lane,
            mode=Mode.LIVE,
            telemetry=telemetry,
            engines=engines,
        )
        engines.began_s.append(time.monotonic())
        with session:
            run(session)
    return session, latency


def result(name: str, session: Session, latency: Remembered, seconds: int) -> dict[str, object]:
    """The figures of one run."""
    assert session.director is not None
    governor = session.director.governor
    report = measure(session)
    began_s = latency.all[0][0]
    third = [r for r in latency.all if r[0] - began_s < seconds / 3]
    last = [r for r in latency.all if seconds * 2 / 3 <= r[0] - began_s < seconds]
    changes = [
        ((c.at_ns - session.started_ns) / 1e9, governor.levels[c.old], governor.levels[c.new])
        for c in governor.changes
    ]
    shown = [at for at, old, new in changes if (old.show is Show.GRAPH) != (new.show is Show.GRAPH)]
    return {
        "name": name,
        "frames_in": report.frames_in,
        "frames_out": report.frames_out,
        "dropped": report.dropped,
        "unaccounted": report.frames_in - report.frames_out - sum(report.dropped.values()),
        "p50_ms": round(report.latency_ms.p50, 1),
        "p99_ms": round(p99(latency.all), 1),
        "p99_first_third_ms": round(p99(third), 1),
        "p99_last_third_ms": round(p99(last), 1),
        "governor": dict(governor.counts),
        "changes": [f"{at:.1f} s {old.name} -> {new.name}" for at, old, new in changes],
        "painted_raw_changes": len([at for at in shown if at < seconds]),
        "full_again_s": round(changes[-1][0] - seconds, 1) if changes else 0.0,
        "full_at_end": governor.level == 0,
    }


def say(row: dict[str, object], rows: list[tuple[str, bool]]) -> None:
    print(f"{row['name']}: {row['frames_in']} in, {row['frames_out']} out, {row['dropped']}")
    print(
        f"  p50 {row['p50_ms']} ms, p99 {row['p99_ms']} ms, of the first and the last third ",
        end="",
    )
    print(f"{row['p99_first_third_ms']} and {row['p99_last_third_ms']} ms; {row['governor']}")
    print(f"  changes: {row['changes']}")
    for what, met in rows:
        print(f"  {'met ' if met else 'MISSED'} {what}")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--seconds", type=int, default=60, help="length of each run")
    options.add_argument("--only", choices=["steady", "swings"])
    options.add_argument("--load", type=float, default=2.0, help="of `steady`")
    options.add_argument("--swing", type=float, default=0.5, help="up and down by this, around 1")
    options.add_argument("--when-late", default="reuse,skip,passthrough")
    options.add_argument("--json", action="store_true")
    chosen = options.parse_args()
    seconds, answers = chosen.seconds, chosen.when_late.split(",")

    swing: float = chosen.swing

    def swings(t: float) -> float:
        if t >= seconds:
            return LOW
        return 1 + swing if t % 1 < 0.5 else 1 - swing

    with tempfile.TemporaryDirectory() as folder:
        clip = synthetic_clip(
            Path(folder) / "a.mp4", width=640, height=360, frames=10 * FPS, rate=FPS, audio=None
        )
        if chosen.only != "swings":
            row = result("steady", *live(clip, lambda t: chosen.load, seconds, answers), seconds)
            checks = [
                ("p99 <= 150 ms + 1 frame", float(str(row["p99_ms"])) <= 150 + 1000 / FPS),
                ("0 unaccounted frames", row["unaccounted"] == 0),
            ]
            print(json.dumps(row)) if chosen.json else say(row, checks)
        if chosen.only != "steady":
            longer = seconds + FALL_S
            row = result("swings", *live(clip, swings, longer, answers), seconds)
            most = seconds / 4
            checks = [
                ("<= 1 change painted/raw per 4 s", int(str(row["painted_raw_changes"])) <= most),
                (
                    "full again <= 4 s after",
                    bool(row["full_at_end"]) and float(str(row["full_again_s"])) <= 4,
                ),
                ("0 unaccounted frames", row["unaccounted"] == 0),
            ]
            print(json.dumps(row)) if chosen.json else say(row, checks)


if __name__ == "__main__":
    main()
