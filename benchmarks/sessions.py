"""Many sessions through an empty graph: what the journey itself costs, without any codec.

60 sessions of 30 fps in two worker processes; packets in, packets out. Prints the time a picture
spends in the pipeline (p50, p99) and the processor time per picture; `--json` for one JSON line.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import time
from collections.abc import Iterator, Sequence
from fractions import Fraction
from multiprocessing.connection import Connection

from streamgen.encode.clock import FrameClock
from streamgen.graph.graph import Graph
from streamgen.graph.lane import Lane
from streamgen.media.frame import Frame
from streamgen.media.packet import Packet
from streamgen.media.pool import CopyMeter
from streamgen.media.steps import StepGroup
from streamgen.media.timeline import Presentation, Timeline
from streamgen.media.tracks import EncodedTrack
from streamgen.protocols import Encoder, Mode
from streamgen.session import Session, run
from streamgen.telemetry import Telemetry, Times
from streamgen.testing import Basket, NoEngines, PacketSource, PassDecoder

RATE_HZ = 30
TIME_BASE = Fraction(1, 90_000)


class PacedSource(PacketSource):
    """Gives its packets at the frame rate, as a live publisher does."""

    def __init__(self, packets: Sequence[Packet], start_s: float) -> None:
        super().__init__(packets)
        self._start_s = start_s

    def packets(self) -> Iterator[Packet]:
        for number, packet in enumerate(super().packets()):
            wait_s = self._start_s + number / RATE_HZ - time.monotonic()
            if wait_s > 0:
                time.sleep(wait_s)
            yield packet


class Echo:
    """An encoder without a codec: one packet per picture, at once."""

    def __init__(self) -> None:
        self.track = EncodedTrack("video/echo", "video", "none", TIME_BASE, None)

    def encode(self, frame: Frame) -> Sequence[Packet]:
        return [Packet(b"", frame.pts, frame.pts, 0, TIME_BASE, frame.keyframe, self.track.name)]

    def flush(self) -> Sequence[Packet]:
        return []


class OneRung:
    """A ladder of one encoder and no scaling."""

    def __init__(self, encoder: Encoder) -> None:
        self.encoders = [encoder]
        self.tracks = [encoder.track]

    def split(self, frame: Frame) -> list[Frame]:
        return [frame]


def empty_session(number: int, seconds: float, start_s: float, lane: Lane) -> Session:
    """A session with every step of the journey and no work in any of them."""
    telemetry = Telemetry()
    step = TIME_BASE.denominator // RATE_HZ
    packets = [
        Packet(b"", n * step, n * step, step, TIME_BASE, n % RATE_HZ == 0, "video/0")
        for n in range(int(seconds * RATE_HZ))
    ]
    return Session(
        source=PacedSource(packets, start_s + number / 1000),
        outlets=[Basket()],
        mode=Mode.LIVE,
        telemetry=telemetry,
        meter=CopyMeter(),
        timeline=Timeline(telemetry),
        presentation=Presentation(telemetry),
        decoder=PassDecoder(clock_ns=time.monotonic_ns),
        cap=None,
        graph=Graph.chain([], telemetry),
        lane=lane,
        clock=FrameClock(1_000_000_000),
        ladder=OneRung(Echo()),  # type: ignore[arg-type]  # structurally a Ladder
        sounds={},
        carried=frozenset(),
        notes=[],
        parallel=1,
        engines=NoEngines(),
    )


def worker(sessions: int, seconds: float, out: Connection) -> None:
    """Run the sessions of one process and send `(times in ns, processor seconds, frames)`."""
    start_s = time.monotonic() + 0.5
    with Lane() as lane:
        all_sessions = [empty_session(n, seconds, start_s, lane) for n in range(sessions)]
        began = os.times()
        with StepGroup() as steps:
            for number, session in enumerate(all_sessions):
                steps.start(f"session {number}", run, session)
        ended = os.times()
    latency = Times()
    for session in all_sessions:
        one = session.telemetry.times("latency")
        for key, count in one._buckets.items():
            latency._buckets[key] = latency._buckets.get(key, 0) + count
        latency.count += one.count
        latency.worst_ns = max(latency.worst_ns, one.worst_ns)
    out.send(
        {
            "p50_ms": latency.quantile_ms(0.5),
            "p99_ms": latency.quantile_ms(0.99),
            "frames": latency.count,
            "user_us": (ended.user - began.user) / latency.count * 1e6,
            "system_us": (ended.system - began.system) / latency.count * 1e6,
        }
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sessions", type=int, default=60)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    pipes = [context.Pipe(duplex=False) for _ in range(options.workers)]
    share = options.sessions // options.workers
    workers = [
        context.Process(target=worker, args=(share, options.seconds, send)) for _, send in pipes
    ]
    for process in workers:
        process.start()
    rows = [receive.recv() for receive, _ in pipes]
    for process in workers:
        process.join()
    answer = {
        "sessions": options.sessions,
        "workers": options.workers,
        "frames": sum(row["frames"] for row in rows),
        "p50_ms": round(max(row["p50_ms"] for row in rows), 3),
        "p99_ms": round(max(row["p99_ms"] for row in rows), 3),
        "python_us_per_frame": round(max(row["user_us"] for row in rows), 1),
        "system_us_per_frame": round(max(row["system_us"] for row in rows), 1),
    }
    if options.json:
        print(json.dumps(answer))
        return
    for name, value in answer.items():
        print(f"{name:>20}  {value}")


if __name__ == "__main__":
    main()
