"""Theirs: the loop people write today. RGB array, float, ONNX Runtime fp32, back, encode.

One picture at a time: decode, to RGB, to float NCHW, network, to uint8 RGB, to YUV, scale, encode
three rungs. The network is `starry`'s own body with RGB ends: 48 channels (3 x 16) after the
space-to-depth where the plane network has 24, everything between the ends untouched.
"""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

RUNGS = ((1280, 720, 2_500_000), (854, 480, 1_200_000), (426, 240, 400_000))


def open_encoder(
    width: int, height: int, bitrate_bps: int, time_base: Fraction, threads: int = 0
) -> av.CodecContext:
    """x264 veryfast zerolatency, as the other variants use it; 0 threads: as x264 likes."""
    encoder = av.CodecContext.create("libx264", "w")
    encoder.width, encoder.height, encoder.pix_fmt = width, height, "yuv420p"
    encoder.time_base = time_base
    encoder.framerate = Fraction(25)
    encoder.bit_rate = bitrate_bps
    encoder.thread_count = threads
    encoder.options = {
        "preset": "veryfast",
        "tune": "zerolatency",
        "maxrate": str(bitrate_bps * 11 // 10),
        "bufsize": str(2 * bitrate_bps),
        "x264-params": "keyint=50:min-keyint=50:scenecut=0",
    }
    encoder.open()
    return encoder


def rgb_network(planes: Path, target: Path, width: int, height: int) -> Path:
    """The body of a plane network with RGB float ends, 0..1, `[1, 3, height, width]`."""
    model = onnx.load(planes)
    body = [
        n
        for n in model.graph.node
        if n.op_type in {"Conv", "Relu", "Add", "Mul", "Slice", "DepthToSpace", "Shape"}
    ]
    first = next(n for n in body if "first.weight" in n.input)
    last = next(n for n in body if "last.weight" in n.input)
    body = body[body.index(first) : body.index(last) + 1]
    kept = []
    for weight in model.graph.initializer:
        array = numpy_helper.to_array(weight)
        if weight.name == "first.weight":
            array = np.concatenate([array, array], axis=1) / 2
        elif weight.name in {"last.weight", "last.bias"}:
            array = np.concatenate([array, array], axis=0)
        kept.append(numpy_helper.from_array(array, weight.name))
    centered = first.input[0]
    size = [1, 3, height, width]
    nodes = [
        helper.make_node("SpaceToDepth", ["rgb"], ["packed"], blocksize=4),
        helper.make_node("Sub", ["packed", "half"], [centered]),
        *body,
        helper.make_node("Add", ["packed", last.output[0]], ["sum"]),
        helper.make_node("DepthToSpace", ["sum"], ["out"], blocksize=4),
    ]
    kept.append(numpy_helper.from_array(np.float32(0.5), "half"))
    graph = helper.make_graph(
        nodes,
        "plain",
        [helper.make_tensor_value_info("rgb", TensorProto.FLOAT, size)],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, size)],
        kept,
    )
    plain = helper.make_model(graph, opset_imports=model.opset_import, ir_version=model.ir_version)
    onnx.save(plain, target)
    return target


def run(clip: Path, model: Path, threads: int) -> int:
    """Redraw `clip` with an RGB float network and encode three rungs; frames done."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    session = ort.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    frames = 0
    with av.open(str(clip)) as container:
        stream = container.streams.video[0]
        encoders = [open_encoder(w, h, b, stream.time_base) for w, h, b in RUNGS]
        for frame in container.decode(stream):
            rgb = frame.to_ndarray(format="rgb24")
            image = rgb.astype(np.float32).transpose(2, 0, 1)[None] / 255.0
            drawn = session.run(None, {name: image})[0]
            back = np.clip(drawn[0].transpose(1, 2, 0) * 255.0, 0, 255).astype(np.uint8)
            painted = av.VideoFrame.from_ndarray(np.ascontiguousarray(back), format="rgb24")
            for encoder, (width, height, _) in zip(encoders, RUNGS, strict=True):
                picture = painted.reformat(width, height, "yuv420p", interpolation="BICUBIC")
                picture.pts, picture.time_base = frame.pts, frame.time_base
                encoder.encode(picture)
            frames += 1
        for encoder in encoders:
            encoder.encode(None)
    return frames
