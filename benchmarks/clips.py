"""The clip that the benchmarks run on, looped to any length, and pictures compared with it."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray


def looped(clip: Path, target: Path, frames: int) -> int:
    """Repeat `clip` without encoding until it has at least `frames` pictures; how many it has."""
    with av.open(str(clip)) as source:
        streams = [source.streams.video[0], *source.streams.audio[:1]]
        packets = [packet for packet in source.demux(streams) if packet.dts is not None]
        length_s = float(streams[0].duration * streams[0].time_base)
        times = -(-frames // streams[0].frames)
        with av.open(str(target), "w") as sink:
            outs = {s.index: sink.add_stream_from_template(s) for s in streams}
            last = dict.fromkeys(outs, -(10**9))
            for turn in range(times):
                for packet in packets:
                    copy = av.Packet(bytes(packet))
                    shift = round(
                        Fraction(length_s).limit_denominator(10**6) * turn / packet.time_base
                    )
                    if packet.dts + shift <= last[packet.stream_index]:
                        continue  # sound that reaches into the next turn
                    last[packet.stream_index] = packet.dts + shift
                    copy.pts, copy.dts = packet.pts + shift, packet.dts + shift
                    copy.duration, copy.time_base = packet.duration, packet.time_base
                    copy.is_keyframe = packet.is_keyframe
                    copy.stream = outs[packet.stream_index]
                    sink.mux(copy)
        return int(times * streams[0].frames)


def luma(path: Path, width: int = 0, height: int = 0) -> Iterator[NDArray[np.float32]]:
    """Luma of every picture of a file or playlist, scaled (bicubic) where a size is given."""
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            if width and (frame.width, frame.height) != (width, height):
                frame = frame.reformat(width, height, interpolation="BICUBIC")
            plane = frame.planes[0]
            rows = np.frombuffer(plane, np.uint8).reshape(frame.height, plane.line_size)
            yield rows[:, : frame.width].astype(np.float32)


def psnr_db(path: Path, clip: Path, width: int, height: int, every: int = 10) -> float:
    """Mean luma PSNR of an encode against the scaled source, over every tenth picture."""
    values = []
    for number, (got, wanted) in enumerate(
        zip(luma(path), luma(clip, width, height), strict=False)
    ):
        if number % every == 0:
            error = float(np.mean((got - wanted) ** 2))
            values.append(10 * np.log10(255**2 / max(error, 1e-9)))
    return float(np.mean(values))
