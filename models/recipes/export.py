"""Write a trained student as fp32 and int8 ONNX and enter it in the manifest.

    python export.py NAME CHECKPOINT.pt --pictures WORK/targets/STYLE/train.0.npz

The int8 ranges come from crops of the training pictures; `--range 0.6` narrows them, which clips a
few peaks and makes finer steps, so that dim scenes flicker less. A new name needs an entry in the
manifest.
"""

from __future__ import annotations

import argparse
import hashlib
import tomllib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import quantize
import torch
from planes import as_bytes, from_rgb
from student import Student
from train_sr import Enlarger

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


def calibration(pictures: Path, *, strength: bool) -> Iterator[Feed]:
    """Crops of 256 px, spread evenly over `train.0.npz` of targets.py or a cache of pairs."""
    with np.load(pictures) as stored:
        keys = [k for k in stored.files if k.endswith((".content", ".coded"))]
        for key in keys[:: max(1, len(keys) // CALIBRATION_PICTURES)]:
            if key.endswith(".content"):
                rgb = stored[key][:256, :256].astype(np.float32) / 255
                yield feed(rgb, strength=strength)
            else:
                y, u, v = stored[key][:, :256, :256, None].transpose(0, 3, 1, 2)[:, None]
                one = np.ones((1, 1, 1, 1), np.float32)
                yield {"y": y, "u": u[..., ::2, ::2], "v": v[..., ::2, ::2], "strength": one}


def write(name: str, fp32: onnx.ModelProto, int8: onnx.ModelProto) -> None:
    """Save both files; the manifest's hashes are refreshed by `refresh_hashes`."""
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
    parser.add_argument("--pictures", type=Path, required=True, help="train.0.npz or restore.npz")
    parser.add_argument("--exact", nargs="*", default=[], help="activations left in fp32")
    parser.add_argument("--range", type=float, default=1.0, help="part of the best range to use")
    args = parser.parse_args()
    kept = torch.load(args.checkpoint, weights_only=True)
    enlarges = len(kept["shape"]) == 2
    net = Enlarger(*kept["shape"]) if enlarges else Student(*kept["shape"])
    build = networks.enlarge if enlarges else networks.paint
    net.load_state_dict(kept["average"])
    weights = net.export()
    fp32 = build(weights)
    found = quantize.ranges(fp32, calibration(args.pictures, strength=not enlarges))
    for name, best in found.items():
        if name.endswith(".out"):
            found[name] = replace(best, scale=best.scale * args.range)
    for name in args.exact:
        del found[name]
    write(args.name, fp32, build(weights, found))
    refresh_hashes()
    print(args.name, "step", kept["step"], "parameters", sum(w.size for w in weights.values()))


if __name__ == "__main__":
    main()
