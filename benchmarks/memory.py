"""Memory of a long run: peak, and whether it grows over 10,000 frames.

python benchmarks/memory.py --clip bigbuckbunny.mp4 [--frames 10000] [--json]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
import time
from pathlib import Path
from statistics import median

from clips import looped
from offline import PIPELINE, command


def resident_mb(pid: int) -> float | None:
    """Resident memory of a process and its children; None when it has ended."""
    try:
        text = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return None
    for line in text.splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    return None


def measure(clip: Path, frames: int, model: str, folder: Path) -> dict[str, float]:
    """Run `starry` over the looped clip and sample its memory every half second."""
    long_clip = folder / "clip.mp4"
    count = looped(clip, long_clip, frames)
    pipeline = folder / "bench.yaml"
    pipeline.write_text(PIPELINE.format(stages=f"[{{style: {{model: {model}}}}}]"))
    process = subprocess.Popen(
        command(pipeline, long_clip, f"{folder / 'out'}/", folder / "report.json"),
        stdout=subprocess.DEVNULL,
    )
    samples: list[float] = []
    while process.poll() is None:
        sample = resident_mb(process.pid)
        if sample is not None:
            samples.append(sample)
        time.sleep(0.5)
    report = json.loads((folder / "report.json").read_text())
    third = len(samples) // 3
    return {
        "frames": count,
        "fps": round(report["fps"], 1),
        "peak_mb": round(report["peak_rss_mb"], 1),
        "second_third_mb": round(median(samples[third : 2 * third]), 1),
        "last_third_mb": round(median(samples[2 * third :]), 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clip", type=Path, required=True)
    parser.add_argument("--frames", type=int, default=10_000)
    parser.add_argument("--model", default="starry")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        answer = measure(options.clip, options.frames, options.model, Path(folder))
    if options.json:
        print(json.dumps(answer))
        return
    for name, value in answer.items():
        print(f"{name:>16}  {value}")


if __name__ == "__main__":
    main()
