"""What an NVIDIA GPU does: versions and what is missing here, then kernels, decoding, transcoding.

Without a GPU it says what is missing, and that is all. Kernels are timed by the clock over many
launches, beside a copy on the device of as many bytes; a launch of one picture is bound by starting
it. Never run on a GPU so far.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from fractions import Fraction
from functools import partial
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from streamgen.config import cache_dir
from streamgen.control.gpu import Gpu, probe
from streamgen.control.probes import ask
from streamgen.cuda.planes import to_planes
from streamgen.cuda.rungs import Scaling
from streamgen.encode.rungs import Encoding, PictureFormat, PlannedRung
from streamgen.errors import EncodeError
from streamgen.graph.lane import Lane
from streamgen.ingest.container import open_source
from streamgen.media.frame import Frame, Layout, plane_shapes
from streamgen.media.pool import FramePool, WritableFrame
from streamgen.opening import open_session
from streamgen.pipeline import Pipeline
from streamgen.plugins import find
from streamgen.protocols import Hardware, Mode
from streamgen.report import measure
from streamgen.session import run
from streamgen.telemetry import Telemetry
from streamgen.testing import Basket, synthetic_clip

SIZE = (1920, 1080)
RUNGS = ((1280, 720), (854, 480), (426, 240))
BATCHES = (1, 8)
ROUNDS = 200
STREAMS = (1, 7)
PACKAGES = (
    "streamgen",
    "av",
    "cuda-core",
    "cuda-bindings",
    "nvidia-cuda-nvrtc",
    "tensorrt",
    "torch",
)

Row = dict[str, Any]
Size = tuple[int, int]


def versions() -> dict[str, str]:
    """Of every package that has a part in it; `missing` where it is not installed."""
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "missing"
    return found


def size_bytes(width: int, height: int) -> int:
    """Of a picture of 4:2:0."""
    return sum(rows * columns for rows, columns in plane_shapes(Layout.NV12, width, height))


def spent_us(stream: Any, work: Callable[[], None], rounds: int) -> float:
    """Microseconds of one of so many in a row, after a few that do not count."""
    for _ in range(min(rounds, 10)):
        work()
    stream.record().wait()
    began = time.perf_counter()
    for _ in range(rounds):
        work()
    stream.record().wait()
    return (time.perf_counter() - began) * 1e6 / rounds


def kernels(
    stream: Any,
    pool: FramePool,
    upload: Callable[[Any], Any],
    *,
    size: Size = SIZE,
    rungs: Sequence[Size] = RUNGS,
    batches: Sequence[int] = BATCHES,
    rounds: int = ROUNDS,
) -> list[Row]:
    """A copy on the device and each kernel, by batch: bytes read and written over the time."""
    scaling = Scaling(*size, rungs)
    tables = upload(scaling.tables)

    def batch_of(batch: int) -> list[Row]:
        sources = [published(pool.take(Layout.NV12, *size)) for _ in range(batch)]
        planes = [pool.take(Layout.I420, *size, multiple=2) for _ in range(batch)]
        made = [[pool.take(Layout.NV12, *rung) for _ in range(batch)] for rung in rungs]
        one, other = (pool.take(Layout.NV12, size[0], size[1] * batch) for _ in range(2))
        read, written = batch * size_bytes(*size), batch * sum(size_bytes(*r) for r in rungs)
        to_network = to_planes(sources, [target.planes for target in planes])
        to_rungs = scaling.launch(sources, made, tables.ptr)
        rows: list[Row] = []
        for name, moved, work in (
            ("copy", 2 * read, partial(stream.copy, at(one), at(other), read)),
            ("planes", 2 * read, partial(stream.start, to_network)),
            (f"{len(rungs)} rungs", read + written, partial(stream.start, to_rungs)),
        ):
            us = spent_us(stream, work, rounds)
            row: Row = {"row": name, "batch": batch, "us": us, "gb_s": moved / us / 1e3}
            rows.append(row)
            row["of_copy"] = row["gb_s"] / rows[0]["gb_s"]
        return rows

    return [row for batch in batches for row in batch_of(batch)]


def decoding(hardware: Hardware, clips: Mapping[str, Path], streams: Sequence[int]) -> list[Row]:
    """Pictures a second that stay on the device, by codec and number of streams at once."""
    rows: list[Row] = []
    for codec, clip in clips.items():
        for number in streams:
            began = time.perf_counter()
            with ThreadPoolExecutor(number) as threads:
                done = sum(threads.map(partial(decoded, hardware), [clip] * number))
            fps = done / (time.perf_counter() - began)
            rows.append({"row": f"decode {codec}", "streams": number, "fps": fps})
    return rows


def decoded(hardware: Hardware, clip: Path) -> int:
    """Pictures of a clip; the last one has been waited for."""
    frames = 0
    last: Frame | None = None
    for frame in pictures(hardware, clip):
        frames, last = frames + 1, frame
    if last is not None and last.ready is not None:
        last.ready.wait()
    return frames


def pictures(hardware: Hardware, clip: Path) -> Iterator[Frame]:
    source = open_source(str(clip))
    decoder = hardware.decoder(source.info.video, pool=hardware.pool, telemetry=Telemetry())
    for packet in source.packets():
        yield from decoder.decode(packet)
    yield from decoder.flush()


def encoding(hardware: Hardware, clip: Path, size: Size = SIZE) -> list[Row]:
    """Pictures a second of one encoder on the device, from pictures that lie there already."""
    rung = PlannedRung("source", *size, bitrate_bps=6_000_000)
    picture = PictureFormat(*size, time_base=Fraction(1, 25), rate=Fraction(25))
    rows: list[Row] = []
    for mode in Mode:
        row: Row = {"row": f"encode h264 {mode.value}"}
        rows.append(row)
        try:
            encoder = hardware.encoder(rung, picture, Encoding(), mode=mode, threads=1)
        except EncodeError as error:
            row["refused"] = str(error)
            continue
        given = [
            hardware.ladder.sized(f, [(size, Layout.NV12)])[0] for f in pictures(hardware, clip)
        ]
        began = time.perf_counter()
        for number, frame in enumerate(given):
            encoder.encode(frame.retimed(pts=number, time_base=Fraction(1, 25)))
        encoder.flush()
        row["fps"] = len(given) / (time.perf_counter() - began)
    return rows


def transcoding(hardware: Hardware, clip: Path) -> list[Row]:
    """A whole run, with what it copied and which rungs went to the processor."""
    heights = ["source", *(height for _, height in RUNGS)]
    pipeline = Pipeline.model_validate(
        {"name": "gpu", "ladder": [{"height": h, "bitrate": "4M"} for h in heights]}
    )
    with Lane() as lane:
        source = open_source(str(clip))
        session = open_session(pipeline, source, [Basket()], lane=lane, hardware=hardware)
        with session:
            run(session)
            report = measure(session)
    row = {"row": "transcode", "fps": report.fps, "copies": report.copies, "notes": report.notes}
    return [row]


def at(out: WritableFrame) -> int:
    return out.planes[0].ptr


def published(out: WritableFrame) -> Frame:
    like = Frame(out.planes, out.layout, out.width, out.height, pts=0, time_base=Fraction(1, 25))
    return out.publish(like)


def measured(folder: Path) -> list[Row]:
    """All rows of the GPU that CUDA shows first."""
    gpu = import_module("streamgen.cuda.gpu").Gpu(0, cache_dir())  # only where CUDA is
    hardware: Hardware = find("hardware", "cuda")(0, cache_dir(), "bicubic")
    pool = FramePool(gpu.device, gpu.allocate, row_bytes=256)
    clips = {
        name: synthetic_clip(
            folder / f"{name}.mp4",
            width=SIZE[0],
            height=SIZE[1],
            frames=60,
            codec=codec,
            audio=None,
        )
        for name, codec in (("h264", "libx264"), ("hevc", "libx265"))
    }
    return [
        *kernels(gpu.stream(), pool, gpu.upload),
        *decoding(hardware, clips, STREAMS),
        *encoding(hardware, clips["h264"]),
        *transcoding(hardware, clips["h264"]),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="one JSON line")
    as_json = parser.parse_args().json
    found = probe()
    answers = ask()
    rows: list[Row] = []
    if isinstance(found, Gpu):
        with TemporaryDirectory() as folder:
            rows = measured(Path(folder))
    answer = {
        "gpu": found if isinstance(found, str) else asdict(found),
        "versions": versions(),
        "works": {one.part: one.detail for one in answers if one.works},
        "missing": {one.part: one.detail for one in answers if not one.works},
        "rows": rows,
    }
    print(json.dumps(answer) if as_json else told(answer))


def told(answer: Mapping[str, Any]) -> str:
    lines = [f"GPU: {answer['gpu']}"]
    for kind in ("versions", "works", "missing"):
        lines += [f"{kind}:", *(f"  {name}: {what}" for name, what in answer[kind].items())]
    lines += [
        "  ".join(f"{k} {v:.2f}" if isinstance(v, float) else f"{k} {v}" for k, v in row.items())
        for row in answer["rows"]
    ]
    return "\n".join(
        [*lines, *([] if answer["rows"] else ["nothing was measured: there is no GPU"])]
    )


if __name__ == "__main__":
    main()
