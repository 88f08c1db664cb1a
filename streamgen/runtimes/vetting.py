"""Looks at a stranger's ONNX file, in a process that may fail: bounded in memory, time and reach.

`python -m streamgen.runtimes.vetting FILE OUT LAYOUT` writes the composed network to OUT and one
line of JSON to standard output: `{"error": ...}`, or what the manifest says of the network.
"""

from __future__ import annotations

import json
import math
import os
import resource
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import DecodeError as BrokenMessage
from numpy.typing import NDArray
from onnx import TensorProto, external_data_helper, helper

from streamgen.errors import ModelError, StreamGenError
from streamgen.runtimes.compose import (
    RANGES,
    Network,
    Order,
    PictureLayout,
    compose,
    only_input,
    parse_layout,
)
from streamgen.runtimes.engine import input_shape, lines
from streamgen.runtimes.legacy import modernised
from streamgen.runtimes.onnx import Reference

MEMORY_BYTES = 6 << 30
PROCESSOR_S = 120
FILE_BYTES = 512 << 20
FLOATS = {TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.UINT8}
MULTIPLES = (4, 8, 16, 32, 64)
"""Tried in this order: the smallest picture step that the network gives back unharmed."""
MOST_SCALE = 8
LOOSE = 0.15
"""How far an output may be from a whole multiple of the input and still be resized to it."""


def vet(path: Path, layout: PictureLayout) -> tuple[onnx.ModelProto, dict[str, Any]]:
    """Check, modernise, run and compose the network. Raises `ModelError`."""
    model = modernised(_load(path))
    network, multiple = _examined(model, layout)
    composed = compose(network)
    _try_composed(composed, network, multiple)
    parameters = sum(math.prod(tensor.dims) for tensor in model.graph.initializer)
    facts = {
        "scale": network.scale,
        "multiple": multiple,
        "live": ["strength"] if network.scale == 1 else [],
        "parameters": parameters,
        "layout": f"{layout.color} {layout.range}>{layout.gives} {network.order}",
        "fixed": "" if network.fixed is None else f"{network.fixed[1]}x{network.fixed[0]}",
    }
    return composed, facts


def _load(path: Path) -> onnx.ModelProto:
    try:
        model = onnx.load(path, load_external_data=False)
    except (BrokenMessage, ValueError, UnicodeDecodeError) as error:
        raise ModelError("not an ONNX file, or cut short") from error
    if not model.graph.node or not model.opset_import:
        raise ModelError("not an ONNX file, or cut short")
    if not model.graph.output:
        raise ModelError("the network has no output")
    _confine(model, path.parent)
    try:
        external_data_helper.load_external_data_for_model(model, str(path.parent))
    except (OSError, ValueError, onnx.checker.ValidationError) as error:
        raise ModelError(f"its weights cannot be read: {lines(error)[0]}") from error
    return model


def _confine(model: onnx.ModelProto, folder: Path) -> None:
    """Weights may lie in other files, but only in files of the model's own folder."""
    folder = folder.resolve()
    for tensor in _tensors(model):
        if tensor.data_location != TensorProto.EXTERNAL:
            continue
        location = next((e.value for e in tensor.external_data if e.key == "location"), "")
        named = Path(location)
        inside = (folder / named).resolve()
        if named.is_absolute() or ".." in named.parts or not inside.is_relative_to(folder):
            raise ModelError(f"its weights lie outside of its folder: {location!r}")
        if not inside.is_file():
            raise ModelError(f"its weights are missing: {location!r}")
        if inside.stat().st_size > FILE_BYTES:
            raise ModelError(f"its weights are larger than {FILE_BYTES >> 20} MiB")


def _tensors(message: Any) -> Iterator[Any]:
    """Every tensor anywhere in a message: weights, constants, bodies of loops and functions."""
    if isinstance(message, onnx.TensorProto):
        yield message
        return
    for field, value in message.ListFields():
        if field.type == field.TYPE_MESSAGE:
            for one in value if field.is_repeated else [value]:
                yield from _tensors(one)


def _examined(model: onnx.ModelProto, layout: PictureLayout) -> tuple[Network, int]:
    """What the network takes and gives, found by its description and by running it."""
    value = only_input(model)
    tensor = value.type.tensor_type
    if not tensor.HasField("shape") or not tensor.shape.dim:
        raise ModelError("the input's rank is not given: four axes with 3 channels are needed")
    dims = [d.dim_value if d.HasField("dim_value") else 0 for d in tensor.shape.dim]
    if len(dims) != 4:
        raise ModelError(f"the input has {len(dims)} axes; one picture of four axes is needed")
    if tensor.elem_type not in FLOATS:
        kind = TensorProto.DataType.Name(tensor.elem_type).lower()
        raise ModelError(f"the input is {kind}; float32, float16 or uint8 is needed")
    order = _order(dims, layout)
    size = (dims[2], dims[3]) if order == "nchw" else (dims[1], dims[2])
    fixed = size if all(size) else None
    reference = Reference(model.SerializeToString())
    steps = (4,) if fixed is not None else MULTIPLES
    failure = ModelError("the network takes no picture")
    for exactly in (True, False):
        for step in steps:
            rows, columns = fixed or (64 + step, 64 + 3 * step)
            try:
                output = _run(reference, value.name, tensor.elem_type, order, rows, columns, layout)
                scale, exact = _scale(output, order, rows, columns)
            except ModelError as error:
                failure = error
                continue
            if exact or not exactly:
                return (
                    Network(model, layout, order, fixed, scale, exact, tensor.elem_type),
                    step,
                )
    raise failure


def _order(dims: list[int], layout: PictureLayout) -> Order:
    """Which axis has the channels. Raises `ModelError` where there are not three."""
    told: Order = "nhwc" if dims[3] == 3 and dims[1] != 3 else "nchw"
    order = layout.order or told
    channels = dims[1] if order == "nchw" else dims[3]
    if channels not in (0, 3):
        shape = "x".join(str(d) if d else "?" for d in dims)
        raise ModelError(f"a picture with 3 channels is needed, the input is {shape}")
    return order


def _run(
    reference: Reference,
    name: str,
    element: int,
    order: Order,
    rows: int,
    columns: int,
    layout: PictureLayout,
) -> NDArray[Any]:
    """Run on a textured picture; the output in its own layout, checked for rank and numbers."""
    low, high = RANGES[layout.range]
    random = np.random.default_rng(0)
    picture = random.uniform(low, high, (1, 3, rows, columns))
    if order == "nhwc":
        picture = picture.transpose(0, 2, 3, 1)
    picture = np.ascontiguousarray(picture, helper.tensor_dtype_to_np_dtype(element))
    output = reference.run({name: picture})[0]
    channels = 1 if order == "nchw" else 3
    if output.ndim != 4 or output.shape[channels] != 3:
        shape = "x".join(map(str, output.shape))
        raise ModelError(f"a picture with 3 channels is needed, the output is {shape}")
    if output.dtype.kind not in "fu" or not np.isfinite(output).all():
        raise ModelError("the network gives values that are not numbers")
    return output


def _scale(output: NDArray[Any], order: Order, rows: int, columns: int) -> tuple[int, bool]:
    high, wide = output.shape[2:] if order == "nchw" else output.shape[1:3]
    scale = round(high / rows)
    if not 1 <= scale <= MOST_SCALE or any(
        abs(given / taken - scale) > LOOSE for given, taken in ((high, rows), (wide, columns))
    ):
        raise ModelError(
            f"the output is {wide}x{high} for a picture of {columns}x{rows}: "
            "the same size or a whole multiple is needed"
        )
    return scale, (high, wide) == (rows * scale, columns * scale)


def _try_composed(composed: onnx.ModelProto, network: Network, multiple: int) -> None:
    """The contract, as a stage will use it: sizes right, strength 0 gives the picture back."""
    width, height = 64 + 3 * multiple, 64 + multiple
    random = np.random.default_rng(1)
    inputs: dict[str, NDArray[Any]] = {
        name: random.integers(16, 236, input_shape(name, width, height), dtype=np.uint8)
        for name in "yuv"
    }
    if network.scale == 1:
        inputs["strength"] = np.zeros((1, 1, 1, 1), np.float32)
    outputs = Reference(composed.SerializeToString()).run(inputs)
    for name, output in zip("yuv", outputs, strict=True):
        shape = input_shape(name, width * network.scale, height * network.scale)
        if output.shape != shape or (network.scale == 1 and (output != inputs[name]).any()):
            raise ModelError("the network cannot be wrapped: it does not keep the picture's size")


def main(arguments: list[str]) -> int:
    """Bound this process, then vet; see the module."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (PROCESSOR_S, PROCESSOR_S))
    resource.setrlimit(resource.RLIMIT_FSIZE, (2 * FILE_BYTES, 2 * FILE_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    path, out, layout = arguments
    try:
        composed, facts = vet(Path(path), parse_layout(layout))
        onnx.save(composed, out)
    except StreamGenError as error:
        facts = {"error": str(error)}
    except MemoryError:
        facts = {"error": f"it needs more than {MEMORY_BYTES >> 30} GiB of memory"}
    print(json.dumps(facts))
    return os.EX_OK if "error" not in facts else os.EX_DATAERR


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
