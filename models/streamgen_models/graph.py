"""A small writer of ONNX graphs: nodes, constants, convolutions, quantisation.

torch's own exporter freezes the picture size in pixel_unshuffle and scatters constants through the
file; written by hand, the graph keeps symbolic sizes and names that `fold` can find again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET = 17
IR_VERSION = 9
# 7 bits: two products of an unsigned byte and a weight then fit 16 bits, so processors without
# VNNI (which add pairs in saturating 16-bit arithmetic) give the same picture as those with it.
WEIGHT_STEPS = 63

Weights = Mapping[str, npt.NDArray[np.float32]]
Value = tuple[str, int, Sequence[str | int]]


@dataclass(frozen=True)
class Range:
    """Affine quantisation of one activation: real = scale * (stored - zero)."""

    scale: float
    zero: int = 0
    signed: bool = False

    @property
    def dtype(self) -> type[np.int8] | type[np.uint8]:
        return np.int8 if self.signed else np.uint8


def quantize_weight(
    weight: npt.NDArray[np.float32],
) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.float32]]:
    """Symmetric per output channel: bytes and the scale of each channel."""
    peak = np.maximum(np.abs(weight).reshape(len(weight), -1).max(1), 1e-12)
    scale = (peak / WEIGHT_STEPS).astype(np.float32)
    steps = np.round(weight / scale.reshape(-1, *[1] * (weight.ndim - 1)))
    return steps.astype(np.int8), scale


@dataclass
class Graph:
    """Collects one graph; activations named in `ranges` and what they feed are quantised (QDQ)."""

    weights: Weights
    ranges: Mapping[str, Range] | None = None
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: dict[str, onnx.TensorProto] = field(default_factory=dict)

    def constant(self, name: str, value: npt.ArrayLike) -> str:
        self.constants.setdefault(name, numpy_helper.from_array(np.asarray(value), name))
        return name

    def node(self, kind: str, inputs: Sequence[str], output: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(kind, list(inputs), [output], output, **attributes))
        return output

    def split(self, value: str, sizes: Sequence[int], outputs: Sequence[str]) -> list[str]:
        """Cut the channel axis."""
        parts = self.constant(f"{value}.sizes", np.array(sizes, np.int64))
        self.nodes.append(helper.make_node("Split", [value, parts], list(outputs), axis=1))
        return list(outputs)

    def rounded(self, value: str) -> str:
        """Quantise and dequantise `value` if its range is known; otherwise `value` itself."""
        if self.ranges is None or value not in self.ranges:
            return value
        chosen = self.ranges[value]
        scale = self.constant(f"{value}.scale", np.float32(chosen.scale))
        zero = self.constant(f"{value}.zero", np.array(chosen.zero, chosen.dtype))
        stored = self.node("QuantizeLinear", [value, scale, zero], f"{value}.q")
        return self.node("DequantizeLinear", [stored, scale, zero], f"{value}.dq")

    def conv(self, value: str, name: str, output: str, *, stride: int = 1) -> str:
        """`name.weight` and `name.bias`, zero padding that keeps the size.

        The weights are quantised when the input is.
        """
        weight = self.weights[f"{name}.weight"]
        given = f"{name}.weight"
        if not value.endswith(".dq"):
            self.constant(given, weight.astype(np.float32))
        else:
            stored, scale = quantize_weight(weight)
            names = [
                self.constant(f"{given}.q", stored),
                self.constant(f"{given}.scale", scale),
                self.constant(f"{given}.zero", np.zeros_like(scale, np.int8)),
            ]
            self.node("DequantizeLinear", names, given, axis=0)
        bias = self.constant(f"{name}.bias", self.weights[f"{name}.bias"].astype(np.float32))
        side = weight.shape[-1]
        return self.node(
            "Conv",
            [value, given, bias],
            output,
            kernel_shape=[side, side],
            pads=[side // 2] * 4,
            strides=[stride, stride],
        )

    def conv_relu(self, value: str, name: str, *, stride: int = 1) -> str:
        """A convolution and its positive part, quantised; the result is called `name.out`."""
        self.conv(value, name, f"{name}.sum", stride=stride)
        return self.rounded(self.node("Relu", [f"{name}.sum"], f"{name}.out"))

    def model(self, inputs: Sequence[Value], outputs: Sequence[Value]) -> onnx.ModelProto:
        """The checked model; each value is (name, element type, shape)."""
        graph = helper.make_graph(
            self.nodes,
            "streamgen",
            [helper.make_tensor_value_info(*value) for value in inputs],
            [helper.make_tensor_value_info(*value) for value in outputs],
            list(self.constants.values()),
        )
        opset = [helper.make_opsetid("", OPSET)]
        model = helper.make_model(graph, opset_imports=opset, ir_version=IR_VERSION)
        model.producer_name = "streamgen"
        onnx.checker.check_model(model)
        return model


BYTE = int(TensorProto.UINT8)
FLOAT = int(TensorProto.FLOAT)
