"""Write a trained student as fp32 and int8 ONNX and enter it in the manifest.

    python export.py NAME CHECKPOINT.pt --targets FOLDER

The int8 ranges come from crops of the training pictures.
"""

from __future__ import annotations

import argparse
import hashlib
import tomllib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import quantize
import torch
from planes import as_bytes, from_rgb

from streamgen_models import networks

PACKAGE = Path(__file__).parents[1] / "streamgen_models"
CALIBRATION_PICTURES = 40
Feed = dict[str, npt.NDArray[np.generic]]


def feed(rgb: npt.NDArray[np.float32], *, strength: bool = True) -> Feed:
    """The inputs of a network for one picture, RGB [H, W, 3] in 0..1."""
    inputs: Feed = {
        name: as_bytes(plane)[None, None] for name, plane in zip("yuv", from_rgb(rgb), strict=True)
    }
    if strength:
        inputs["strength"] = np.ones((1, 1, 1, 1), np.float32)
    return inputs


def calibration(folder: Path, *, strength: bool) -> Iterator[Feed]:
    """Crops of 256 px, spread evenly over the training pictures."""
    with np.load(folder / "train.0.npz") as stored:
        keys = [k for k in stored.files if k.endswith(".content")]
        for key in keys[:: max(1, len(keys) // CALIBRATION_PICTURES)]:
            yield feed(stored[key][:256, :256].astype(np.float32) / 255, strength=strength)


def write(name: str, fp32: onnx.ModelProto, int8: onnx.ModelProto) -> None:
    """Save both files; the manifest's hashes are refreshed by `python manifest.py`."""
    folder = PACKAGE / "weights"
    folder.mkdir(exist_ok=True)
    for precision, model in (("fp32", fp32), ("int8", int8)):
        onnx.save(model, str(folder / f"{name}.{precision}.onnx"))


def refresh_hashes() -> None:
    """Rewrite every [model.sha256] of the manifest from the files as they are."""
    path = PACKAGE / "manifest.toml"
    models = iter(tomllib.loads(path.read_text())["model"])
    lines: list[str] = []
    files: dict[str, str] = {}
    table = ""
    for line in path.read_text().splitlines():
        if line.startswith("["):
            table = line
        if line == "[[model]]":
            files = next(models)["files"]
        key = line.partition(" = ")[0]
        if table == "[model.sha256]" and key in files:
            digest = hashlib.sha256((PACKAGE / files[key]).read_bytes()).hexdigest()
            line = f'{key} = "{digest}"'
        lines.append(line)
    path.write_text("\n".join(lines) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name")
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--targets", type=Path, required=True)
    args = parser.parse_args()
    from student import Student

    kept = torch.load(args.checkpoint, weights_only=True)
    net = Student(*kept["shape"])
    net.load_state_dict(kept["average"])
    weights = net.export()
    fp32 = networks.paint(weights)
    found = quantize.ranges(fp32, calibration(args.targets, strength=True))
    write(args.name, fp32, networks.paint(weights, found))
    refresh_hashes()
    print(args.name, "step", kept["step"], "parameters", sum(w.size for w in weights.values()))


if __name__ == "__main__":
    main()
