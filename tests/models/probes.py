"""What the model tests share: the manifest, a synthetic picture and the two CPU runtimes."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime as ort
import openvino as ov

import streamgen_models

PACKAGE = Path(streamgen_models.__file__).parent
MODELS: list[dict[str, Any]] = tomllib.loads((PACKAGE / "manifest.toml").read_text())["model"]
BY_NAME = {model["name"]: model for model in MODELS}
CASES = [(model["name"], precision) for model in MODELS for precision in model["files"]]

Bytes = npt.NDArray[np.uint8]
Planes = tuple[Bytes, Bytes, Bytes]
Run = Callable[[Mapping[str, Any]], Planes]


def file_of(name: str, precision: str) -> Path:
    return PACKAGE / str(BY_NAME[name]["files"][precision])


def picture(height: int, width: int) -> dict[str, Bytes]:
    """Studio-range planes with a gradient, an edge, a disc and fine texture."""
    rows, columns = np.mgrid[:height, :width] / max(height, width)
    y = 60 + 120 * columns + 25 * np.sin(40 * rows) * (columns > 0.4)
    y = np.where(np.hypot(rows - 0.3, columns - 0.5) < 0.2, 200 - 80 * rows, y)
    y += np.random.default_rng(4).normal(0, 2, y.shape)
    half = (slice(None, None, 2), slice(None, None, 2))
    planes = {"y": y, "u": (128 + 50 * (columns - 0.5))[half], "v": (150 - 60 * rows)[half]}
    return {
        name: np.clip(np.round(p), 16, 235).astype(np.uint8)[None, None]
        for name, p in planes.items()
    }


def with_strength(planes: dict[str, Bytes], name: str, strength: float) -> dict[str, Any]:
    """The inputs of a model; the enlarger has no `strength`."""
    if BY_NAME[name]["kind"] == "sr":
        return dict(planes)
    return {**planes, "strength": np.full((1, 1, 1, 1), strength, np.float32)}


def _ordered(outputs: Mapping[str, Bytes]) -> Planes:
    return outputs["y_out"], outputs["u_out"], outputs["v_out"]


@cache
def onnxruntime_run(model: bytes) -> Run:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return lambda inputs: _ordered(dict(zip(names, session.run(None, dict(inputs)), strict=True)))


@cache
def openvino_run(model: bytes) -> Run:
    core = ov.Core()
    # Newer processors would otherwise run fp32 files in bf16.
    settings = {"INFERENCE_NUM_THREADS": 1, "INFERENCE_PRECISION_HINT": "f32"}
    compiled = core.compile_model(core.read_model(model), "CPU", settings)
    return lambda inputs: _ordered(
        {o.get_any_name(): np.array(v) for o, v in compiled(dict(inputs)).items()}
    )


RUNTIMES = {"onnxruntime": onnxruntime_run, "openvino": openvino_run}
