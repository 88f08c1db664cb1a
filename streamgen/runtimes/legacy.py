"""Old files made new: experimental operators rewritten, operator sets raised.

`Crop`, `ImageScaler` and `Affine` were in the first exporters' files and then left the standard;
no converter and few runtimes know them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper, version_converter

from streamgen.errors import ModelError
from streamgen.runtimes.compose import OPSET

LEGACY = {"Crop", "ImageScaler", "Affine"}
TO_THE_END = 2**31 - 1


def modernised(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same network in operator set 13 or later. Raises `ModelError`."""
    version = next((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), 1)
    if any(node.op_type in LEGACY for node in model.graph.node):
        model = _rewritten(model, version)
    if version >= OPSET:
        return model
    try:
        return version_converter.convert_version(model, OPSET)
    except (RuntimeError, ValueError, TypeError) as error:
        reason = str(error).strip().splitlines()[-1] if str(error).strip() else "no reason given"
        raise ModelError(f"operator set {version} cannot be raised to {OPSET}: {reason}") from error


def _rewritten(model: onnx.ModelProto, version: int) -> onnx.ModelProto:
    new = onnx.ModelProto()
    new.CopyFrom(model)
    nodes: list[Any] = []
    for number, node in enumerate(model.graph.node):
        match node.op_type:
            case "Crop":
                nodes.extend(_crop(new, node, number, version))
            case "ImageScaler":
                given = _attributes(node)
                bias = np.array(given.get("bias", [0.0]), np.float32).reshape(-1, 1, 1)
                nodes.extend(_affine(new, node, number, given.get("scale", 1.0), bias))
            case "Affine":
                given = _attributes(node)
                beta = np.array(given.get("beta", 0.0), np.float32)
                nodes.extend(_affine(new, node, number, given.get("alpha", 1.0), beta))
            case _:
                nodes.append(node)
    del new.graph.node[:]
    new.graph.node.extend(nodes)
    return new


def _attributes(node: Any) -> dict[str, Any]:
    return {one.name: helper.get_attribute_value(one) for one in node.attribute}


def _constant(model: onnx.ModelProto, name: str, value: Any) -> str:
    tensor = numpy_helper.from_array(np.asarray(value), name)
    model.graph.initializer.append(tensor)
    if model.ir_version < 4:  # weights are inputs in these files
        model.graph.input.append(
            helper.make_tensor_value_info(name, tensor.data_type, list(tensor.dims))
        )
    return name


def _affine(model: onnx.ModelProto, node: Any, number: int, scale: float, bias: Any) -> list[Any]:
    factor = _constant(model, f"legacy{number}.scale", np.array(scale, np.float32))
    shift = _constant(model, f"legacy{number}.bias", bias)
    scaled = f"legacy{number}.scaled"
    return [
        helper.make_node("Mul", [node.input[0], factor], [scaled]),
        helper.make_node("Add", [scaled, shift], list(node.output)),
    ]


def _crop(model: onnx.ModelProto, node: Any, number: int, version: int) -> list[Any]:
    given = _attributes(node)
    left, top, right, bottom = given["border"]
    if "scale" in given:
        height, width = given["scale"]
        ends = [top + height, left + width]
    else:
        ends = [-bottom or TO_THE_END, -right or TO_THE_END]
    if version < 10:
        return [
            helper.make_node(
                "Slice",
                [node.input[0]],
                list(node.output),
                starts=[top, left],
                ends=ends,
                axes=[2, 3],
            )
        ]
    lists = {"starts": [top, left], "ends": ends, "axes": [2, 3]}
    names = [
        _constant(model, f"legacy{number}.{key}", np.array(value, np.int64))
        for key, value in lists.items()
    ]
    return [helper.make_node("Slice", [node.input[0], *names], list(node.output))]
