"""Measure shipped models and print the figures of their cards as JSON lines.

    python evaluate.py NAME... --targets FOLDER --pictures FOLDER --clips FOLDER

Styles: RGB-PSNR to the teacher they learned from and to the raw frozen teacher, over the held-out
pictures; warp error over the input's own on two clips; mean change of the picture. `sr-x2`: luma
gain over bicubic. `restore`: luma gain over H.264 at several rates. `--targets` holds one folder
for each style, named like the small model.
"""

from __future__ import annotations

import argparse
import json
import math
import time
import tomllib
from collections.abc import Callable, Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
import openvino as ov
import pictures
import planes
from degrade import coded
from export import PACKAGE, feed
from PIL import Image
from warp import Motion, motion, warp_error

Array = npt.NDArray[np.float32]
Run = Callable[[dict[str, Any]], tuple[npt.NDArray[np.uint8], ...]]
CLIPS = {"camera": ("nasa_13013.mp4", 3), "animation": ("bigbuckbunny.mp4", 0)}
SEGMENTS, LENGTH = 9, 3
CODED = (
    ("veryfast", 28, 0.0),
    ("veryfast", 35, 0.0),
    ("veryfast", 40, 0.0),
    ("ultrafast", 35, 0.0),
    ("ultrafast", 40, 0.0),
    ("veryfast", 26, 3.0),
    ("ultrafast", 30, 3.0),
)


def opened(path: Path) -> Run:
    """The model on OpenVINO's CPU device, any size."""
    compiled = ov.Core().compile_model(str(path), "CPU")

    def run(inputs: dict[str, Any]) -> tuple[npt.NDArray[np.uint8], ...]:
        found = compiled(inputs)
        return tuple(np.array(found[i]) for i in range(3))

    return run


def painted(run: Run, rgb: Array) -> Array:
    """The picture after the model, RGB."""
    y, u, v = (p[0, 0].astype(np.float32) for p in run(feed(rgb)))
    return planes.to_rgb((y, u, v))


def psnr_db(a: npt.NDArray[np.generic], b: npt.NDArray[np.generic], peak: float = 1.0) -> float:
    error = np.square(a.astype(np.float64) - b.astype(np.float64)).mean()
    return 10 * math.log10(peak * peak / max(float(error), 1e-12))


def segments(clip: Path, stream: int) -> Iterator[list[Array]]:
    """Runs of consecutive frames spread over a clip, RGB in 0..1, sides multiples of 4."""
    with av.open(str(clip)) as container:
        chosen = container.streams[stream]
        count = chosen.frames or 300
        starts = [round((i + 0.5) * (count - LENGTH) / SEGMENTS) for i in range(SEGMENTS)]
        wanted: dict[int, Array] = {}
        for number, frame in enumerate(container.decode(chosen)):
            if any(start <= number < start + LENGTH for start in starts):
                rgb = frame.to_ndarray(format="rgb24").astype(np.float32) / 255
                wanted[number] = rgb[: rgb.shape[0] // 4 * 4, : rgb.shape[1] // 4 * 4]
    for start in starts:
        yield [wanted[n] for n in range(start, start + LENGTH) if n in wanted]


@cache
def moving(clip: Path, stream: int) -> list[tuple[list[Array], list[Motion]]]:
    """The segments of a clip with the motion between their frames, found once for all models."""
    return [
        (frames, [motion(a, b) for a, b in pairwise(frames)]) for frames in segments(clip, stream)
    ]


def steadiness(run: Run, clip: Path, stream: int) -> dict[str, float]:
    """Warp error of the output and of the input; pairs with a cut between them are left out."""
    errors: list[tuple[float, float]] = []
    changes: list[float] = []
    for frames, motions in moving(clip, stream):
        outputs = [painted(run, frame) for frame in frames]
        changes += [float(np.abs(a - b).mean()) for a, b in zip(outputs, frames, strict=True)]
        for i, moved in enumerate(motions):
            if moved.trusted.mean() > 0.5:
                pair = [warp_error(f[i], f[i + 1], moved) for f in (outputs, frames)]
                errors.append((pair[0], pair[1]))
    ours, own = (float(np.mean(column)) for column in zip(*errors, strict=True))
    return {"warp": ours, "own": own, "ratio": ours / own, "change": float(np.mean(changes))}


def grid(output: Array, target: Array) -> float:
    """How strong a pattern of 4 or 8 px is, RMS in 8-bit steps of luma.

    The error's local mean (64 px) in each of the 64 phases, less that of all phases together.
    """
    error = planes.from_rgb(output)[0] - planes.from_rgb(target)[0]
    height, width = (side // 64 * 64 for side in error.shape)
    cells = error[:height, :width].reshape(height // 64, 8, 8, width // 64, 8, 8).mean((1, 4))
    cells -= cells.mean((1, 3), keepdims=True)
    return float(np.sqrt(np.square(cells).mean()))


def style(name: str, runs: dict[str, Run], args: argparse.Namespace) -> dict[str, Any]:
    """All figures of one style."""
    figures: dict[str, Any] = {}
    held = np.load(args.targets / name.removesuffix("-large") / "held.npz")
    names = [k.removesuffix(".content") for k in held.files if k.endswith(".content")]
    for precision, run in runs.items():
        found: dict[str, list[float]] = {"teacher": [], "raw": [], "change": [], "grid": []}
        for picture in names:
            content, target, raw = (
                held[f"{picture}.{kind}"].astype(np.float32) / 255
                for kind in ("content", "target", "raw")
            )
            output = painted(run, content)
            found["teacher"].append(psnr_db(output, target))
            found["raw"].append(psnr_db(output, raw))
            found["grid"].append(grid(output, target))
            found["change"].append(float(np.abs(output - content).mean()))
        figures[precision] = {key: float(np.mean(values)) for key, values in found.items()}
        figures[precision]["each"] = dict(zip(names, found["teacher"], strict=True))
        for kind, (file, stream) in CLIPS.items():
            figures[precision][kind] = steadiness(run, args.clips / file, stream)
    return figures


def enlarger(runs: dict[str, Run], args: argparse.Namespace) -> dict[str, Any]:
    """Luma PSNR over bicubic on held-out pictures halved with Pillow's bicubic filter."""
    figures: dict[str, Any] = {}
    for precision, run in runs.items():
        rows: dict[str, tuple[float, float]] = {}
        for name, rgb in pictures.held_out(args.pictures):
            large = [planes.as_bytes(p) for p in planes.from_rgb(rgb)]
            sizes = [(p.shape[1], p.shape[0]) for p in large]
            small = [
                np.asarray(Image.fromarray(p).resize((w // 2, h // 2), Image.Resampling.BICUBIC))
                for p, (w, h) in zip(large, sizes, strict=True)
            ]
            ours = run({k: p[None, None] for k, p in zip("yuv", small, strict=True)})[0][0, 0]
            plain = np.asarray(Image.fromarray(small[0]).resize(sizes[0], Image.Resampling.BICUBIC))
            rows[name] = (psnr_db(plain, large[0], 255), psnr_db(ours, large[0], 255))
        gains = [ours - plain for plain, ours in rows.values()]
        figures[precision] = {"gain": float(np.mean(gains)), "each": rows}
    return figures


def restorer(runs: dict[str, Run], args: argparse.Namespace) -> dict[str, Any]:
    """Luma and chroma PSNR over the coded picture, for held-out pictures coded as short clips."""
    figures: dict[str, Any] = {}
    held = list(pictures.held_out(args.pictures))
    for preset, rate, noise in CODED:
        clips = [coded(rgb, rate, seed=7, preset=preset, noise=noise) for _, rgb in held]
        for precision, run in runs.items():
            gains: list[list[float]] = []
            for clean, dirty in clips:
                inputs: dict[str, Any] = {
                    k: p[None, None] for k, p in zip("yuv", dirty, strict=True)
                }
                inputs["strength"] = np.ones((1, 1, 1, 1), np.float32)
                outputs = [p[0, 0] for p in run(inputs)]
                gains.append(
                    [
                        psnr_db(o, c, 255) - psnr_db(d, c, 255)
                        for o, c, d in zip(outputs, clean, dirty, strict=True)
                    ]
                )
            mean = np.mean(gains, axis=0)
            row = dict(zip(("y", "u", "v"), map(float, mean), strict=True))
            name = f"{preset}, CRF {rate}" + (f", camera noise {noise:.0f}" if noise else "")
            figures.setdefault(precision, {})[name] = row
    return figures


def speed(path: Path, scale: int) -> dict[str, float]:
    """Milliseconds for one 1280x720 frame (640x360 for the enlarger), two threads, OpenVINO."""
    height, width = 720 // scale, 1280 // scale
    rng = np.random.default_rng(1)
    rgb = rng.random((height, width, 3)).astype(np.float32)
    model = ov.Core().read_model(str(path))
    inputs = feed(rgb, strength="strength" in {i.get_any_name() for i in model.inputs})
    model.reshape({name: list(value.shape) for name, value in inputs.items()})
    settings = {"INFERENCE_NUM_THREADS": 2, "PERFORMANCE_HINT": "LATENCY"}
    request = ov.Core().compile_model(model, "CPU", settings).create_infer_request()
    walls: list[float] = []
    processor = 0.0
    for turn in range(40):
        wall, start = time.perf_counter(), time.process_time()
        request.infer(inputs)
        if turn >= 5:
            walls.append((time.perf_counter() - wall) * 1e3)
            processor += (time.process_time() - start) * 1e3
    return {"best_ms": min(walls), "median_ms": float(np.median(walls)), "cpu_ms": processor / 35}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="+")
    for name in ("targets", "pictures", "clips"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    args = parser.parse_args()
    entries = {
        m["name"]: m for m in tomllib.loads((PACKAGE / "manifest.toml").read_text())["model"]
    }
    for name in args.names:
        entry = entries[name]
        runs = {k: opened(PACKAGE / file) for k, file in entry["files"].items()}
        match entry["kind"]:
            case "style":
                figures = style(name, runs, args)
            case "sr":
                figures = enlarger(runs, args)
            case _:
                figures = restorer(runs, args)
        for precision, file in entry["files"].items():
            figures[precision]["speed"] = speed(PACKAGE / file, entry["scale"])
        print(json.dumps({"name": name, "parameters": entry["parameters"], **figures}), flush=True)


if __name__ == "__main__":
    main()
