"""The networks of streamgen as ONNX graphs: planes in, planes out, any size.

Every graph takes `y` [N, 1, H, W] and `u`, `v` [N, 1, H/2, W/2] as bytes, studio-range BT.709, and
gives `y_out`, `u_out`, `v_out` as bytes. The picture goes from and to bytes on a path beside the
network that is never quantised, so `strength` 0 returns it bit for bit.

`paint` (styles and `restore`) works at a quarter of the size, 24 channels: the 16 luma phases of
each 4x4 block, then 4 of u, then 4 of v. `first` reads code values less `center`, `last` gives a
residual in code values: both facts are what `fold` needs. Zero padding then means middle grey.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx

from .graph import BYTE, FLOAT, Graph, Range, Value, Weights

LUMA_CENTER = 126.0
CHROMA_CENTER = 128.0
# Code values less the centre, one step each: quantising the input loses nothing.
EXACT = Range(1.0, 0, signed=True)

Ranges = Mapping[str, Range]


def _blocks(graph: Graph, value: str) -> str:
    """Residual pairs `block0.a`, `block0.b`, ... as many as there are weights."""
    number = 0
    while f"block{number}.a.weight" in graph.weights:
        name = f"block{number}"
        inner = graph.conv_relu(value, f"{name}.a")
        graph.conv(inner, f"{name}.b", f"{name}.b.sum")
        graph.node("Add", [value, f"{name}.b.sum"], f"{name}.sum")
        value = graph.rounded(graph.node("Relu", [f"{name}.sum"], f"{name}.out"))
        number += 1
    return value


def _two_scales(graph: Graph, fine: str) -> str:
    """`down` to half the size, the blocks there, `up` again and joined with `fine`.

    An odd size is rounded up on the way down, hence the cut on the way back.
    """
    coarse = _blocks(graph, graph.conv_relu(fine, "down", stride=2))
    graph.conv(coarse, "up", "up.sum")
    graph.node("DepthToSpace", ["up.sum"], "up.spread", blocksize=2, mode="DCR")
    start = graph.constant("cut.start", np.zeros(2, np.int64))
    axes = graph.constant("cut.axes", np.array([2, 3], np.int64))
    end = graph.node("Shape", [fine], "cut.end", start=2, end=4)
    graph.node("Slice", ["up.spread", start, end, axes], "up.cut")
    graph.node("Add", [fine, "up.cut"], "join.sum")
    return graph.rounded(graph.node("Relu", ["join.sum"], "join.out"))


def _bytes(graph: Graph, value: str, output: str) -> str:
    low = graph.constant("black", np.float32(0))
    high = graph.constant("white", np.float32(255))
    rounded = graph.node("Round", [value], f"{output}.round")
    clipped = graph.node("Clip", [rounded, low, high], f"{output}.clip")
    return graph.node("Cast", [clipped], output, to=BYTE)


def _changed(graph: Graph, packed: str, residual: str) -> str:
    """The packed picture with the residual at its strength, as bytes.

    Done with the picture's two axes as one: OpenVINO then turns a quantised residual from the
    convolution's order of channels to the planes' while it is bytes, and not after it is floats.
    """
    flat = graph.constant("flat", np.array([0, 24, -1], np.int64))
    graph.node("Reshape", [residual, flat], "residual.flat")
    one = graph.constant("strength.shape", np.array([0, 1, 1], np.int64))
    graph.node("Reshape", ["strength", one], "strength.flat")
    graph.node("Mul", ["residual.flat", "strength.flat"], "change")
    graph.node("Reshape", [packed, flat], "packed.flat")
    graph.node("Cast", ["packed.flat"], "picture.flat", to=FLOAT)
    graph.node("Add", ["picture.flat", "change"], "changed")
    _bytes(graph, "changed", "finished.flat")
    size = graph.node("Shape", [packed], "size")
    return graph.node("Reshape", ["finished.flat", size], "finished")


def paint(weights: Weights, ranges: Ranges | None = None) -> onnx.ModelProto:
    """A style or restoring network; with `ranges` of its activations, quantised to int8."""
    graph = Graph(weights, ranges)
    sizes = {"y": 4, "u": 2, "v": 2}
    parts = [
        graph.node("SpaceToDepth", [plane], f"{plane}.packed", blocksize=size)
        for plane, size in sizes.items()
    ]
    packed = graph.node("Concat", parts, "packed", axis=1)
    picture = graph.node("Cast", [packed], "picture", to=FLOAT)
    middle = np.array([LUMA_CENTER] * 16 + [CHROMA_CENTER] * 8, np.float32).reshape(1, 24, 1, 1)
    graph.node("Sub", [picture, graph.constant("center", middle)], "centered")
    fine = graph.conv_relu(graph.rounded("centered"), "first")
    painted = _two_scales(graph, fine) if "down.weight" in weights else _blocks(graph, fine)
    residual = graph.conv(painted, "last", "residual")
    finished = _changed(graph, packed, graph.rounded(residual))
    names = [f"{plane}.finished" for plane in sizes]
    for name, (plane, size) in zip(
        graph.split(finished, (16, 4, 4), names), sizes.items(), strict=True
    ):
        graph.node("DepthToSpace", [name], f"{plane}_out", blocksize=size, mode="DCR")
    planes_in: list[Value] = [
        ("y", BYTE, ("N", 1, "H", "W")),
        ("u", BYTE, ("N", 1, "H2", "W2")),
        ("v", BYTE, ("N", 1, "H2", "W2")),
    ]
    strength: Value = ("strength", FLOAT, ("N", 1, 1, 1))
    planes_out: list[Value] = [(f"{name}_out", kind, shape) for name, kind, shape in planes_in]
    return graph.model([*planes_in, strength], planes_out)


def enlarge(weights: Weights, ranges: Ranges | None = None) -> onnx.ModelProto:
    """Twice the size: luma by the network at half the size, chroma by bicubic interpolation.

    The residual is added to the luma with every pixel repeated 2x2. H and W multiples of 2.
    """
    graph = Graph(weights, ranges)
    graph.node("SpaceToDepth", ["y"], "packed", blocksize=2)
    picture = graph.node("Cast", ["packed"], "picture", to=FLOAT)
    middle = np.full((1, 4, 1, 1), LUMA_CENTER, np.float32)
    graph.node("Sub", [picture, graph.constant("center", middle)], "centered")
    value = _blocks(graph, graph.conv_relu(graph.rounded("centered"), "first"))
    residual = graph.conv(value, "last", "residual")
    # Output phase (i, j) of a 4x4 block starts from input phase (i/2, j/2) of a 2x2 block.
    phases = [2 * (i // 2) + j // 2 for i in range(4) for j in range(4)]
    index = graph.constant("phases", np.array(phases, np.int64))
    graph.node("Gather", [picture, index], "repeated", axis=1)
    graph.node("Add", ["repeated", residual], "changed")
    graph.node(
        "DepthToSpace", [_bytes(graph, "changed", "finished")], "y_out", blocksize=4, mode="DCR"
    )
    scales = graph.constant("scales", np.array([1, 1, 2, 2], np.float32))
    for plane in "uv":
        graph.node("Cast", [plane], f"{plane}.float", to=FLOAT)
        graph.node(
            "Resize",
            [f"{plane}.float", "", scales],
            f"{plane}.wide",
            mode="cubic",
            cubic_coeff_a=-0.5,
        )
        _bytes(graph, f"{plane}.wide", f"{plane}_out")
    return graph.model(
        [
            ("y", BYTE, ("N", 1, "H", "W")),
            ("u", BYTE, ("N", 1, "H2", "W2")),
            ("v", BYTE, ("N", 1, "H2", "W2")),
        ],
        [
            ("y_out", BYTE, ("N", 1, "HH", "WW")),
            ("u_out", BYTE, ("N", 1, "H", "W")),
            ("v_out", BYTE, ("N", 1, "H", "W")),
        ],
    )
