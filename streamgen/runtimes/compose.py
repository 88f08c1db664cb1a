"""Wraps somebody's RGB network into our contract: planes in, planes out, in the graph itself.

    y, u, v -> upsample chroma -> 1x1 convolution to RGB -> clip -> (resize, transpose) -> network
    -> (transpose, resize) -> clip -> 1x1 convolution to YUV -> average chroma -> blend -> y, u, v

Chroma is taken to lie in the middle of its four pixels on both ways, so that it does not wander.
The colour matrix and range of the source are in the two convolutions: `fold_color` exchanges them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import onnx
import onnx.compose
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from streamgen.errors import ConfigError, ModelError

Order = Literal["nchw", "nhwc"]
RANGES: dict[str, tuple[float, float]] = {
    "0..1": (0.0, 1.0),
    "0..255": (0.0, 255.0),
    "-1..1": (-1.0, 1.0),
}
PRIMARIES = {"bt709": (0.2126, 0.0722), "bt601": (0.299, 0.114), "bt2020": (0.2627, 0.0593)}
"""Weights of red and blue in luma (ITU-T H.273)."""
TO_RGB, TO_YUV, PICTURE = "streamgen/to_rgb", "streamgen/to_yuv", "streamgen.picture"
OPSET = 13
"""The oldest operator set that the parts around the network are written in."""


@dataclass(frozen=True, slots=True)
class PictureLayout:
    """How a network wants its picture."""

    color: Literal["rgb", "bgr"] = "rgb"
    range: str = "0..1"
    """Of the input: `0..1`, `0..255` or `-1..1`."""
    out_range: str = ""
    """Of the output; as the input's where empty."""
    order: Order | None = None
    """`nchw` or `nhwc`; None: the axis with three entries tells."""

    @property
    def gives(self) -> str:
        return self.out_range or self.range


def parse_layout(text: str) -> PictureLayout:
    """`bgr,0..255,nhwc`: colour order, range (`0..255>0..1` where the output's differs), axes.

    Each part may be left out. Raises `ConfigError`.
    """
    given: dict[str, Any] = {}
    for part in filter(None, (part.strip().lower() for part in text.split(","))):
        entering, _, leaving = part.partition(">")
        if part in ("rgb", "bgr"):
            given["color"] = part
        elif part in ("nchw", "nhwc"):
            given["order"] = part
        elif entering in RANGES and (not leaving or leaving in RANGES):
            given["range"], given["out_range"] = entering, leaving
        else:
            raise ConfigError(
                f"unknown part '{part}' of a layout (rgb or bgr; 0..1, 0..255 or -1..1; "
                "nchw or nhwc; such as bgr,0..255)"
            )
    return PictureLayout(**given)


@dataclass(frozen=True, slots=True)
class Network:
    """Somebody's network, examined: one picture in, one picture out."""

    model: onnx.ModelProto
    layout: PictureLayout
    order: Order
    fixed: tuple[int, int] | None
    """Rows and columns where the network takes one size only."""
    scale: int
    exact: bool
    """The output is exactly `scale` times the input."""
    element: int
    """`TensorProto` type of the input."""

    @property
    def input(self) -> str:
        name: str = only_input(self.model).name
        return name

    @property
    def output(self) -> str:
        name: str = self.model.graph.output[0].name
        return name


def only_input(model: onnx.ModelProto) -> Any:
    """The one input that is no weight (old files list their weights as inputs)."""
    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in weights]
    if len(inputs) != 1:
        raise ModelError(f"a network with one picture as input is needed, it has {len(inputs)}")
    return inputs[0]


class _Graph:
    """Nodes and constants as they are written down."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def constant(self, name: str, value: Any) -> str:
        self.constants.append(numpy_helper.from_array(np.asarray(value), f"streamgen/{name}"))
        return f"streamgen/{name}"

    def node(self, operator: str, inputs: list[str], output: str, **attributes: Any) -> str:
        output = output if output.endswith("_out") else f"streamgen/{output}"
        self.nodes.append(helper.make_node(operator, inputs, [output], **attributes))
        return output

    def split(self, source: str, sizes: list[int], outputs: list[str]) -> list[str]:
        outputs = [f"streamgen/{name}" for name in outputs]
        sizes_name = self.constant(f"{outputs[0]}.sizes", np.array(sizes, np.int64))
        self.nodes.append(helper.make_node("Split", [source, sizes_name], outputs, axis=1))
        return outputs


def compose(network: Network) -> onnx.ModelProto:
    """The network between planes, on studio-range BT.709; `strength` is live unless it enlarges."""
    inner = onnx.compose.add_prefix(network.model, "net/")
    graph = _Graph()
    source = _enter(graph, network)
    graph.nodes.append(helper.make_node("Identity", [source], [f"net/{network.input}"]))
    graph.nodes.extend(inner.graph.node)
    _leave(graph, network, f"net/{network.output}")
    outer = helper.make_graph(
        graph.nodes,
        "streamgen",
        _ports("", TensorProto.UINT8, ("H", "W"))
        + ([_port("strength", TensorProto.FLOAT, (1, 1))] if network.scale == 1 else []),
        _ports("_out", TensorProto.UINT8, ("H_out", "W_out")),
        [*inner.graph.initializer, *graph.constants],
    )
    model = helper.make_model(
        outer,
        opset_imports=inner.opset_import,
        functions=inner.functions,
        ir_version=max(8, inner.ir_version),
        producer_name="streamgen",
    )
    layout = network.layout
    helper.set_model_props(model, {PICTURE: f"{layout.color} {layout.range} {layout.gives}"})
    return fold_color(model, matrix="bt709", full_range=False)


def _port(name: str, element: int, size: tuple[Any, Any], channels: int = 1) -> Any:
    return helper.make_tensor_value_info(name, element, ["N", channels, *size])


def _ports(suffix: str, element: int, size: tuple[str, str]) -> list[Any]:
    half = (f"{size[0]}/2", f"{size[1]}/2")
    return [_port(n + suffix, element, size if n == "y" else half) for n in ("y", "u", "v")]


def _enter(graph: _Graph, network: Network) -> str:
    """Planes to the picture that the network wants."""
    planes = [graph.node("Cast", [name], f"{name}.f", to=TensorProto.FLOAT) for name in "yuv"]
    chroma = graph.node("Concat", planes[1:], "chroma", axis=1)
    chroma = _resize_by(graph, chroma, 2, "chroma.full")
    yuv = graph.node("Concat", [planes[0], chroma], "yuv", axis=1)
    picture = _color(graph, yuv, TO_RGB)
    low, high = RANGES[network.layout.range]
    picture = _clip(graph, picture, low, high, "picture")
    if network.fixed is not None:
        size = graph.constant("fixed", np.array(network.fixed, np.int64))
        picture = _resize_to(graph, picture, size, "fitted")
    if network.order == "nhwc":
        picture = graph.node("Transpose", [picture], "nhwc", perm=[0, 2, 3, 1])
    return graph.node("Cast", [picture], "entering", to=network.element)


def _leave(graph: _Graph, network: Network, picture: str) -> None:
    """The network's picture to planes, blended with what came in."""
    picture = graph.node("Cast", [picture], "leaving", to=TensorProto.FLOAT)
    if network.order == "nhwc":
        picture = graph.node("Transpose", [picture], "nchw", perm=[0, 3, 1, 2])
    if network.fixed is not None or not network.exact:
        size = graph.node("Shape", ["y"], "y.shape")
        size = graph.node("Gather", [size, graph.constant("hw", np.array([2, 3]))], "y.size")
        factor = graph.constant("scale", np.array([network.scale], np.int64))
        size = graph.node("Mul", [size, factor], "size")
        picture = _resize_to(graph, picture, size, "unfitted")
    low, high = RANGES[network.layout.gives]
    picture = _clip(graph, picture, low, high, "painted")
    yuv = _color(graph, picture, TO_YUV)
    luma, chroma = graph.split(yuv, [1, 2], ["luma", "chroma.painted"])
    chroma = graph.node("AveragePool", [chroma], "chroma.half", kernel_shape=[2, 2], strides=[2, 2])
    planes = [luma, *graph.split(chroma, [1, 1], ["u.painted", "v.painted"])]
    for name, plane in zip("yuv", planes, strict=True):
        if network.scale == 1:
            change = graph.node("Sub", [plane, f"streamgen/{name}.f"], f"{name}.change")
            change = graph.node("Mul", [change, "strength"], f"{name}.share")
            plane = graph.node("Add", [f"streamgen/{name}.f", change], f"{name}.blend")
        plane = graph.node("Round", [plane], f"{name}.round")
        plane = _clip(graph, plane, 0.0, 255.0, f"{name}.code")
        graph.node("Cast", [plane], f"{name}_out", to=TensorProto.UINT8)


def _clip(graph: _Graph, source: str, low: float, high: float, name: str) -> str:
    bounds = [graph.constant(f"{name}.{k}", np.float32(v)) for k, v in (("lo", low), ("hi", high))]
    return graph.node("Clip", [source, *bounds], name)


def _resize_by(graph: _Graph, source: str, factor: int, name: str) -> str:
    scales = graph.constant(f"{name}.scales", np.array([1, 1, factor, factor], np.float32))
    return graph.node("Resize", [source, "", scales], name, mode="linear")


def _resize_to(graph: _Graph, source: str, size: str, name: str) -> str:
    shape = graph.node("Shape", [source], f"{name}.shape")
    front = graph.constant(f"{name}.front", np.array([0, 1]))
    shape = graph.node("Gather", [shape, front], f"{name}.nc")
    sizes = graph.node("Concat", [shape, size], f"{name}.sizes", axis=0)
    return graph.node("Resize", [source, "", "", sizes], name, mode="linear")


def _color(graph: _Graph, source: str, name: str) -> str:
    part = name.removeprefix("streamgen/")
    weight = graph.constant(f"{part}.weight", np.zeros((3, 3, 1, 1), np.float32))
    bias = graph.constant(f"{part}.bias", np.zeros(3, np.float32))
    return graph.node("Conv", [source, weight, bias], part, kernel_shape=[1, 1])


def fold_color(model: onnx.ModelProto, *, matrix: str, full_range: bool) -> onnx.ModelProto:
    """A copy of a composed network for planes of this matrix and range. Costs nothing to run."""
    folded = onnx.ModelProto()
    folded.CopyFrom(model)
    color, enters, leaves = _picture(model)
    from_rgb, offset = _codes_from_rgb(matrix, full_range)
    if color == "bgr":
        from_rgb = from_rgb[:, ::-1]
    low, high = RANGES[enters]
    to_rgb = np.linalg.inv(from_rgb) * (high - low)
    low_out, high_out = RANGES[leaves]
    to_yuv = from_rgb / (high_out - low_out)
    values = {
        f"{TO_RGB}.weight": to_rgb.reshape(3, 3, 1, 1),
        f"{TO_RGB}.bias": low - to_rgb @ offset,
        f"{TO_YUV}.weight": to_yuv.reshape(3, 3, 1, 1),
        f"{TO_YUV}.bias": offset - to_yuv.sum(1) * low_out,
    }
    for tensor in folded.graph.initializer:
        if tensor.name in values:
            array = values[tensor.name].astype(np.float32)
            tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    return folded


def _picture(model: onnx.ModelProto) -> list[str]:
    for entry in model.metadata_props:
        if entry.key == PICTURE:
            parts: list[str] = entry.value.split(" ")
            return parts
    raise ModelError("the network was not imported by streamgen: it does not say its layout")


def _codes_from_rgb(matrix: str, full_range: bool) -> tuple[NDArray[Any], NDArray[Any]]:
    """Rows y, u, v from r, g, b in 0..1 to code values, and the codes of black (H.273 8.3)."""
    if matrix not in PRIMARIES:
        raise ModelError(f"unknown colour matrix '{matrix}' (there are: {', '.join(PRIMARIES)})")
    red, blue = PRIMARIES[matrix]
    luma = np.array([red, 1 - red - blue, blue])
    cb = (np.array([0, 0, 1]) - luma) / (2 - 2 * blue)
    cr = (np.array([1, 0, 0]) - luma) / (2 - 2 * red)
    steps = np.array([255.0] * 3 if full_range else [219.0, 224.0, 224.0])
    offset = np.array([0.0 if full_range else 16.0, 128.0, 128.0])
    return np.stack([luma, cb, cr]) * steps[:, None], offset
