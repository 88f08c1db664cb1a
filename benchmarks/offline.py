"""How fast a file becomes a ladder: ours beside ffmpeg's command line and the loop people write.

All variants do the same work in one run, in turn, each in a process of its own: a 720p clip looped
to 500 or more frames, rungs of 720/480/240 lines at 2500/1200/400 kbit/s, x264 veryfast
zerolatency, sound copied. Medians over `--rounds`; ratios are formed round by round.

    python benchmarks/offline.py --clip bigbuckbunny.mp4 [--json] [--plot offline.png]
"""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from clips import looped, psnr_db

RUNGS = ((1280, 720, "2500k"), (854, 480, "1200k"), (426, 240, "400k"))
PIPELINE = """
name: bench
stages: {stages}
ladder:
  - {{height: 720, bitrate: 2500k}}
  - {{height: 480, bitrate: 1200k}}
  - {{height: 240, bitrate: 400k}}
keyframe_interval: 2s
encoder: {{tune: zerolatency}}
"""


@dataclass(frozen=True)
class Bench:
    """Where one round finds and leaves its files."""

    folder: Path
    clip: Path
    frames: int
    ffmpeg: str
    model: str


def ours(bench: Bench, stages: str, name: str) -> dict[str, Any]:
    """`streamgen run` of a pipeline; the figures of its own report."""
    pipeline = bench.folder / f"{name}.yaml"
    pipeline.write_text(PIPELINE.format(stages=stages))
    report = bench.folder / f"{name}.json"
    began = time.monotonic()
    line = command(pipeline, bench.clip, f"{bench.folder / name}/", report)
    subprocess.run(line, check=True, stdout=subprocess.DEVNULL)
    whole_s = time.monotonic() - began
    row = json.loads(report.read_text())
    row = row[0] if isinstance(row, list) else row
    return {
        "fps": row["fps"],
        "whole_s": whole_s,
        "cpu_ms": row["cpu_ms_per_frame"],
        "rss_mb": row["peak_rss_mb"],
        "copies": row["copies_per_frame"],
        "frames": row["frames_out"],
    }


def command(pipeline: Path, clip: Path, target: str, report: Path) -> list[str]:
    """The command line of one run of ours."""
    program = str(Path(sys.executable).with_name("streamgen"))
    line = [program, "run", str(pipeline), str(clip), "-o", target]
    return [*line, "--overwrite", "--report", str(report)]


def ladder(bench: Bench) -> dict[str, Any]:
    """Ours without a model."""
    return ours(bench, "[]", "ladder")


def starry(bench: Bench) -> dict[str, Any]:
    """Ours with the small style network."""
    return ours(bench, f"[{{style: {{model: {bench.model}}}}}]", "starry")


def ffmpeg(bench: Bench) -> dict[str, Any]:
    """The ffmpeg command line: the same rungs, encoder options, scaler, threads and GOP."""
    target = bench.folder / "ffmpeg"
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir()
    graph = "[0:v]split=3[a][b][c];[b]scale=854:480:flags=bicubic[b1];"
    graph += "[c]scale=426:240:flags=bicubic[c1]"
    command = [bench.ffmpeg, "-v", "error", "-benchmark", "-y", "-i", str(bench.clip)]
    command += ["-filter_complex", graph]
    for label, (_, height, bitrate) in zip(["a", "b1", "c1"], RUNGS, strict=True):
        peak, buffer = f"{int(bitrate[:-1]) * 11 // 10}k", f"{2 * int(bitrate[:-1])}k"
        command += ["-map", f"[{label}]", "-c:v", "libx264", "-preset", "veryfast"]
        command += ["-tune", "zerolatency", "-b:v", bitrate, "-maxrate", peak]
        command += ["-bufsize", buffer, "-threads:v", "1", "-sc_threshold", "0"]
        command += ["-force_key_frames", "expr:gte(t,n_forced*2)", "-forced-idr", "1"]
        command += ["-g", "1000", "-map", "0:a", "-c:a", "copy", str(target / f"{height}.mp4")]
    began, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    whole_s, after = time.monotonic() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    match = re.search(r"rtime=([\d.]+)s", done.stderr + done.stdout)
    run_s = float(match[1]) if match else whole_s
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {
        "fps": bench.frames / run_s,
        "whole_s": whole_s,
        "cpu_ms": cpu_s * 1e3 / bench.frames,
        "frames": bench.frames,
    }


def child(bench: Bench, variant: str) -> dict[str, Any]:
    """A variant that runs in Python, in a fresh process."""
    command = [sys.executable, __file__, "--variant", variant, "--clip", str(bench.clip)]
    command += ["--model", bench.model, "--folder", str(bench.folder)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def plain(bench: Bench) -> dict[str, Any]:
    """The plain loop, with ONNX Runtime in fp32."""
    return child(bench, "plain")


def parts(bench: Bench) -> dict[str, Any]:
    """The bound: decode, network, scaling and encodes alone, each with both cores busy."""
    return child(bench, "parts")


VARIANTS: dict[str, Callable[[Bench], dict[str, Any]]] = {
    "ffmpeg": ffmpeg,
    "ladder": ladder,
    "plain": plain,
    "starry": starry,
    "parts": parts,
}


def run_variant(options: argparse.Namespace) -> dict[str, Any]:
    """Inside the child process."""
    import parts as bare
    import plain_loop

    from streamgen.plugins import find_model

    spec = find_model(options.model)
    if options.variant == "parts":
        return bare.bound(Path(options.clip), spec)
    network = plain_loop.rgb_network(
        spec.files["fp32"], Path(options.folder) / "plain.onnx", 1280, 720
    )
    began, cpu = time.monotonic(), time.process_time()
    frames = plain_loop.run(Path(options.clip), network, os.cpu_count() or 1)
    wall_s = time.monotonic() - began
    return {
        "fps": frames / wall_s,
        "cpu_ms": (time.process_time() - cpu) * 1e3 / frames,
        "rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "frames": frames,
    }


def quality(bench: Bench) -> dict[str, dict[str, float]]:
    """Luma PSNR in dB of each rung against the scaled source, ours and ffmpeg's."""
    rows = {}
    for width, height, _ in RUNGS:
        rows[f"{height}p"] = {
            "ours": psnr_db(
                bench.folder / f"ladder/{height}p/index.m3u8", bench.clip, width, height
            ),
            "ffmpeg": psnr_db(bench.folder / f"ffmpeg/{height}.mp4", bench.clip, width, height),
        }
    return rows


def summary(rounds: list[dict[str, dict[str, Any]]]) -> dict[str, Any]:
    """Medians of each variant, and the ratios that are promised, round by round."""

    def ratio(over: str, under: str) -> float:
        return median(r[over]["fps"] / r[under]["fps"] for r in rounds)

    variants = {
        name: {key: median(r[name][key] for r in rounds) for key in rounds[0][name]}
        for name in rounds[0]
    }
    return {
        "variants": variants,
        "ratios": {
            "ladder over ffmpeg": ratio("ladder", "ffmpeg"),
            "starry over plain loop": ratio("starry", "plain"),
            "starry over bound of parts": ratio("starry", "parts"),
        },
    }


def show(answer: dict[str, Any]) -> None:
    print(f"{'variant':<10}{'fps':>8}{'CPU ms/frame':>14}{'peak MB':>9}{'copies':>8}")
    for name, row in answer["variants"].items():
        memory, copies = row.get("rss_mb"), row.get("copies")
        print(
            f"{name:<10}{row['fps']:>8.1f}{row['cpu_ms']:>14.1f}"
            f"{'' if memory is None else f'{memory:.0f}':>9}"
            f"{'' if copies is None else f'{copies:.2f}':>8}"
        )
    for name, value in answer["ratios"].items():
        print(f"{name:<30}{value:>8.2f}")
    for rung, row in answer["psnr_db"].items():
        print(f"PSNR {rung:<6} ours {row['ours']:.2f} dB, ffmpeg {row['ffmpeg']:.2f} dB")


def plot(answer: dict[str, Any], target: Path) -> None:
    """Bars of frames per second, as a PNG."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    names = {
        "ffmpeg": "ffmpeg, no model",
        "ladder": "streamgen, no model",
        "plain": "plain loop, model",
        "starry": "streamgen, model",
        "parts": "bound of the parts",
    }
    rows = [(names[n], answer["variants"][n]["fps"]) for n in names]
    figure, axes = pyplot.subplots(figsize=(8, 3.2), layout="constrained")
    colors = ["#9aa5b1", "#1f6feb", "#9aa5b1", "#1f6feb", "#d0d7de"]
    bars = axes.barh([n for n, _ in rows], [v for _, v in rows], color=colors)
    axes.bar_label(bars, fmt="%.1f", padding=4)
    axes.invert_yaxis()
    axes.set_xlabel("frames per second, 1280x720 in, three H.264 rungs out")
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(target, dpi=150)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clip", required=True)
    parser.add_argument("--frames", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--model", default="starry")
    parser.add_argument("--ffmpeg", default=shutil.which("ffmpeg"))
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--plot", type=Path)
    parser.add_argument("--variant", choices=["plain", "parts"], help=argparse.SUPPRESS)
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.variant:
        print(json.dumps(run_variant(options)))
        return
    with tempfile.TemporaryDirectory() as folder:
        clip = Path(folder) / "clip.mp4"
        frames = looped(Path(options.clip), clip, options.frames)
        bench = Bench(Path(folder), clip, frames, options.ffmpeg, options.model)
        rounds = [
            {name: variant(bench) for name, variant in VARIANTS.items()}
            for _ in range(options.rounds)
        ]
        answer = summary(rounds) | {"frames": frames, "psnr_db": quality(bench)}
    if options.plot:
        plot(answer, options.plot)
    if options.json:
        print(json.dumps(answer))
    else:
        show(answer)


if __name__ == "__main__":
    main()
