"""Fold another colour space into a network's first and last convolution.

The networks are trained on studio-range BT.709. Converting BT.601 or full-range pictures there and
back would cost two passes over every frame; since neutral chroma stays neutral, the conversion of
one 4x4 block is a 24x24 matrix (each luma sample with the chroma sample it shares), which the
convolutions at both ends absorb at no cost:

    x709 - c709 = M (x - c) + d        first' = first M,  bias' = bias + sum(first) d
    residual = M^-1 residual709        last' = M^-1 last

`center` becomes c = 128 for full-range luma: one bit of the exact middle 127.5, chosen because
code values less 128 are the whole numbers -128..127, so the int8 input stays exact. The steps of a
quantised residual grow with its range.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper

from .graph import quantize_weight

Array = npt.NDArray[np.float64]

_PRIMARIES = {"bt709": (0.2126, 0.0722), "bt601": (0.299, 0.114), "bt2020": (0.2627, 0.0593)}
_TRAINED_CENTER = np.array([126.0, 128.0, 128.0])


def _planes_from_rgb(matrix: str, full_range: bool) -> tuple[Array, Array]:
    """Rows y, u, v from r, g, b in 0..1 to code values, and the offsets of black and neutral."""
    if matrix not in _PRIMARIES:
        raise ValueError(f"matrix must be one of {', '.join(_PRIMARIES)}, got {matrix!r}")
    red, blue = _PRIMARIES[matrix]
    green = 1 - red - blue
    luma = np.array([red, green, blue])
    rows = [luma, (np.array([0, 0, 1]) - luma) / (2 - 2 * blue)]
    rows.append((np.array([1, 0, 0]) - luma) / (2 - 2 * red))
    steps = np.array([255.0, 255.0, 255.0] if full_range else [219.0, 224.0, 224.0])
    offset = np.array([0.0 if full_range else 16.0, 128.0, 128.0])
    return np.stack(rows) * steps[:, None], offset


def _conversion(matrix: str, full_range: bool) -> tuple[Array, Array, Array]:
    """M [3, 3], c [3] and d [3] of the text above, for one pixel."""
    to709, offset709 = _planes_from_rgb("bt709", False)
    given, offset = _planes_from_rgb(matrix, full_range)
    change: Array = to709 @ np.linalg.inv(given)
    center = np.array([128.0 if full_range else 126.0, 128.0, 128.0])
    shift = change @ (center - offset) + offset709 - _TRAINED_CENTER
    return change, center, shift


def _block(change: Array) -> Array:
    """The 24x24 matrix of one packed 4x4 block; chroma of luma phase (i, j) is (i/2, j/2)."""
    block = np.zeros((24, 24))
    for row in range(4):
        for column in range(4):
            luma, chroma = 4 * row + column, 2 * (row // 2) + column // 2
            block[luma, luma] = change[0, 0]
            block[luma, 16 + chroma], block[luma, 20 + chroma] = change[0, 1:]
    for phase in range(4):
        for plane in (0, 1):
            block[16 + 4 * plane + phase, 16 + phase :: 4] = change[1 + plane, 1:]
    return block


class _Constants:
    """The constants of one model by name, quantised weights in their real values."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self._stored = {constant.name: constant for constant in model.graph.initializer}

    def __contains__(self, name: str) -> bool:
        return name in self._stored or f"{name}.q" in self._stored

    def get(self, name: str) -> Array:
        if name in self._stored:
            return numpy_helper.to_array(self._stored[name]).astype(np.float64)
        steps = numpy_helper.to_array(self._stored[f"{name}.q"]).astype(np.float64)
        scale = numpy_helper.to_array(self._stored[f"{name}.scale"]).astype(np.float64)
        return np.asarray(steps * scale[:, None, None, None])

    def set(self, name: str, value: Array) -> None:
        if name in self._stored:
            self._put(name, value.astype(np.float32))
            return
        steps, scale = quantize_weight(value.astype(np.float32))
        self._put(f"{name}.q", steps)
        self._put(f"{name}.scale", scale)

    def _put(self, name: str, value: npt.NDArray[np.generic]) -> None:
        self._stored[name].CopyFrom(numpy_helper.from_array(value, name))


def fold_color(model: onnx.ModelProto, *, matrix: str, full_range: bool) -> onnx.ModelProto:
    """A copy of `model` for planes of another matrix ("bt709", "bt601", "bt2020") or range.

    Works on the fp32 and the int8 files alike; quantised weights are quantised anew, per output
    channel. Costs nothing at run time. A luma enlarger only follows the range of luma.
    """
    folded = onnx.ModelProto()
    folded.CopyFrom(model)
    if matrix == "bt709" and not full_range:
        return folded
    constants = _Constants(folded)
    change, center, shift = _conversion(matrix, full_range)
    first, last = constants.get("first.weight"), constants.get("last.weight")
    if first.shape[1] == 24:
        sizes = [16, 4, 4]
        enter = _block(change)
        leave = np.linalg.inv(enter)
    else:
        sizes = [first.shape[1]]
        enter = change[0, 0] * np.eye(first.shape[1])
        leave = np.eye(last.shape[0]) / change[0, 0]
    spread = np.repeat(shift[: len(sizes)], sizes)
    bias = constants.get("first.bias") + np.einsum("oihw,i->o", first, spread)
    constants.set("first.bias", bias)
    constants.set("first.weight", np.einsum("oihw,ij->ojhw", first, enter))
    constants.set("last.weight", np.einsum("io,oqhw->iqhw", leave, last))
    constants.set("last.bias", leave @ constants.get("last.bias"))
    if "residual.scale" in constants:
        steps = constants.get("residual.scale") / min(1.0, change[0, 0])
        constants.set("residual.scale", np.asarray(steps))
    constants.set("center", np.repeat(center[: len(sizes)], sizes).reshape(1, -1, 1, 1))
    return folded
