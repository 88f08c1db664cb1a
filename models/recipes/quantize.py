"""Choose the int8 range of every activation from real pictures, then rebuild the graph with them.

onnxruntime's own quantize_static would also quantise the path that carries the picture past the
network, and knows no exact input; here each range is the one with the least squared error.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper

from streamgen_models.graph import Range
from streamgen_models.networks import EXACT

Feed = Mapping[str, npt.NDArray[np.generic]]
Array = npt.NDArray[np.float32]

SAMPLES_PER_PICTURE = 20_000


def _watched(model: onnx.ModelProto) -> list[str]:
    """Activations that feed a convolution or the join, and the residual of `paint`; never the
    picture's own path."""
    names = [name for node in model.graph.node for name in node.output]
    painted = "strength" in {value.name for value in model.graph.input}
    return [n for n in names if n.endswith(".out") or (painted and n == "residual")]


def _activations(model: onnx.ModelProto, feeds: Iterable[Feed], seed: int) -> dict[str, Array]:
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    names = _watched(model)
    copy.graph.output.extend(
        helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names
    )
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(copy.SerializeToString(), options, ["CPUExecutionProvider"])
    rng = np.random.default_rng(seed)
    found: dict[str, list[Array]] = {name: [] for name in names}
    for feed in feeds:
        for name, value in zip(names, session.run(names, dict(feed)), strict=True):
            flat = value.ravel()
            picked = flat[rng.integers(0, flat.size, SAMPLES_PER_PICTURE)]
            found[name].append(np.append(picked, [flat.min(), flat.max()]).astype(np.float32))
    return {name: np.concatenate(parts) for name, parts in found.items()}


def _best(values: Array) -> Range:
    """The scale with the least squared error, among cuts of 0.3 to 1 of the peak."""
    signed = bool(values.min() < 0)
    steps = 127 if signed else 255
    peak = float(np.abs(values).max())
    best, least = Range(max(peak, 1e-6) / steps, 0, signed), np.inf
    for part in np.linspace(0.3, 1.0, 29):
        scale = max(peak, 1e-6) * part / steps
        stored = np.clip(np.round(values / scale), -steps if signed else 0, steps)
        error = float(np.square(stored * scale - values).mean())
        if error < least:
            best, least = Range(scale, 0, signed), error
    return best


def ranges(model: onnx.ModelProto, feeds: Iterable[Feed], seed: int = 1) -> dict[str, Range]:
    """Ranges for `streamgen_models.networks` by name of activation."""
    found = {name: _best(v) for name, v in _activations(model, feeds, seed).items()}
    return {"centered": EXACT, **found}
