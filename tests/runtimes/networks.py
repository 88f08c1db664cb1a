"""Tiny networks with an answer that a test can compute."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from streamgen.media.frame import Frame, Plane
from streamgen.media.pool import WritableFrame
from streamgen.runtimes.engine import OUTPUTS, PLANES

BYTE, FLOAT = TensorProto.UINT8, TensorProto.FLOAT


def value(name: str, element: int, height: str, width: str) -> Any:
    return helper.make_tensor_value_info(name, element, ["N", 1, height, width])


def model_of(nodes: list[Any], constants: list[Any]) -> bytes:
    sizes = {"y": ("H", "W"), "u": ("H2", "W2"), "v": ("H2", "W2")}
    graph = helper.make_graph(
        nodes,
        "tiny",
        [value(name, BYTE, *sizes[name]) for name in PLANES]
        + [helper.make_tensor_value_info("strength", FLOAT, ["N", 1, 1, 1])],
        [value(f"{name}_out", BYTE, *sizes[name]) for name in PLANES],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def widening() -> bytes:
    """Each plane x to x + strength * (3x3 maximum of x - x)."""
    nodes = []
    for p in PLANES:
        nodes += [
            helper.make_node("Cast", [p], [f"{p}f"], to=FLOAT),
            helper.make_node(
                "MaxPool", [f"{p}f"], [f"{p}m"], kernel_shape=[3, 3], pads=[1, 1, 1, 1]
            ),
            helper.make_node("Sub", [f"{p}m", f"{p}f"], [f"{p}d"]),
            helper.make_node("Mul", [f"{p}d", "strength"], [f"{p}s"]),
            helper.make_node("Add", [f"{p}f", f"{p}s"], [f"{p}b"]),
            helper.make_node("Round", [f"{p}b"], [f"{p}r"]),
            helper.make_node("Cast", [f"{p}r"], [f"{p}_out"], to=BYTE),
        ]
    return model_of(nodes, [])


def fragile() -> bytes:
    """Gives the picture back, but fails while running unless `strength` divides its size."""
    nodes = [
        helper.make_node("Cast", ["strength"], ["parts"], to=TensorProto.INT64),
        helper.make_node("Reshape", ["parts", "one"], ["part"]),
        helper.make_node("Concat", ["part", "rest"], ["form"], axis=0),
    ]
    for p in PLANES:
        nodes += [
            helper.make_node("Shape", [p], [f"{p}z"]),
            helper.make_node("Cast", [p], [f"{p}f"], to=FLOAT),
            helper.make_node("Reshape", [f"{p}f", "form"], [f"{p}p"]),
            helper.make_node("Abs", [f"{p}p"], [f"{p}a"]),
            helper.make_node("Reshape", [f"{p}a", f"{p}z"], [f"{p}b"]),
            helper.make_node("Cast", [f"{p}b"], [f"{p}_out"], to=BYTE),
        ]
    one, rest = (
        numpy_helper.from_array(np.array([n]), name) for n, name in ((1, "one"), (-1, "rest"))
    )
    return model_of(nodes, [one, rest])


def widened(plane: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """What `widening` gives at strength 1."""
    around = np.pad(plane, 1)
    rows, columns = plane.shape
    shifts = [around[r : r + rows, c : c + columns] for r in range(3) for c in range(3)]
    return np.maximum.reduce(shifts)


def named(frame: Frame, strength: float = 1.0) -> dict[str, Plane | float]:
    """The inputs of a network for one picture."""
    return {**dict(zip(PLANES, frame.planes, strict=True)), "strength": strength}


def outputs(frame: WritableFrame) -> dict[str, Plane]:
    return dict(zip(OUTPUTS, frame.planes, strict=True))
