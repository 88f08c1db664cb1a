"""The bound of the bare parts: what each costs alone with every core busy, and what that allows.

Each part runs on as many threads as there are cores, on its own data, nothing in between; its time
per frame is wall time over frames done by all threads. A pipeline that overlaps everything
perfectly would take the sum of these times per frame.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.video.reformatter import VideoReformatter
from plain_loop import RUNGS, open_encoder

from streamgen.config import cores
from streamgen.media.frame import Layout
from streamgen.media.pool import FramePool
from streamgen.protocols import Mode, ModelSpec
from streamgen.runtimes.choose import MeasuredEngines

FRAMES = 120


def timed(work: Callable[[int], int]) -> float:
    """Milliseconds per frame of `work(thread) -> frames` on all cores at once."""
    done = [0] * cores()

    def one(number: int) -> None:
        done[number] = work(number)

    threads = [threading.Thread(target=one, args=(number,)) for number in range(cores())]
    began = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return (time.monotonic() - began) * 1e3 / sum(done)


def decoded(clip: Path, limit: int = FRAMES) -> list[av.VideoFrame]:
    """The first pictures of the clip, on one decoder thread."""
    frames: list[av.VideoFrame] = []
    with av.open(str(clip)) as container:
        container.streams.video[0].codec_context.thread_count = 1
        for frame in container.decode(video=0):
            frames.append(frame)
            if len(frames) == limit:
                break
    return frames


def network_ms(spec: ModelSpec) -> float:
    """Milliseconds per 720p picture of the engine that an offline run would use."""
    pool = FramePool()
    engines = MeasuredEngines(Mode.OFFLINE)
    runtime = engines.open(spec, 1280, 720, matrix=spec.matrix, full_range=False)
    source = pool.take(Layout.I420, 1280, 720)
    for plane in source.planes:
        np.asarray(plane)[:] = np.random.default_rng(0).integers(16, 235, plane.shape, np.uint8)
    inputs: dict[str, Any] = dict(zip("yuv", source.planes, strict=True)) | {"strength": 1.0}
    tickets: list[Any] = []
    began = 0.0
    for number in range(FRAMES + 10):
        if number == 10:
            for ticket in tickets:
                ticket.fence.wait()
            began = time.monotonic()
        out = pool.take(Layout.I420, 1280, 720)
        names = dict(zip(("y_out", "u_out", "v_out"), out.planes, strict=True))
        tickets = [*tickets[-4:], runtime.submit(inputs, names)]
    for ticket in tickets:
        ticket.fence.wait()
    spent_ms = (time.monotonic() - began) * 1e3
    runtime.close()
    return spent_ms / FRAMES


def bound(clip: Path, spec: ModelSpec) -> dict[str, Any]:
    """Milliseconds per frame of each part, and the frames per second they allow together."""
    frames = decoded(clip)

    def encode(width: int, height: int, bitrate: int) -> Callable[[int], int]:
        scaled = [f.reformat(width, height, interpolation="BICUBIC") for f in frames]

        def work(_: int) -> int:
            encoder = open_encoder(width, height, bitrate, frames[0].time_base, threads=1)
            for frame in scaled:
                planes = tuple(
                    np.ndarray((p.height, p.width), np.uint8, p, strides=(p.line_size, 1))
                    for p in frame.planes
                )
                shell = av.VideoFrame.from_dlpack(
                    planes, format="yuv420p", width=width, height=height
                )
                shell.pts, shell.time_base = frame.pts, frame.time_base
                encoder.encode(shell)
            encoder.encode(None)
            return len(scaled)

        return work

    def scale(_: int) -> int:
        steps = [VideoReformatter() for _ in RUNGS[1:]]
        for frame in decoded_apart:
            for step, (width, height, _b) in zip(steps, RUNGS[1:], strict=True):
                frame = step.reformat(frame, width, height, interpolation="BICUBIC", threads=1)
        return len(frames)

    times = {"decode": timed(lambda _: len(decoded(clip)))}
    times["network"] = network_ms(spec)
    decoded_apart = frames
    times["scale"] = timed(scale)
    for width, height, bitrate in RUNGS:
        times[f"encode {height}p"] = timed(encode(width, height, bitrate))
    total_ms = sum(times.values())
    return {"fps": 1e3 / total_ms, "cpu_ms": total_ms * cores(), **times}
