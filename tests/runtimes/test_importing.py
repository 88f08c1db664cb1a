"""Other people's networks, good and bad; all made here."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from onnx.external_data_helper import set_external_data

from streamgen.errors import ConfigError, ModelError
from streamgen.plugins import models
from streamgen.runtimes import vetting
from streamgen.runtimes.compose import PictureLayout, fold_color, parse_layout
from streamgen.runtimes.importing import import_model
from streamgen.runtimes.vetting import vet
from streamgen.testing import picture

Save = Callable[..., Path]
FREE = ["N", 3, "H", "W"]


def network(
    nodes: list[Any],
    shape: list[Any] | None = FREE,
    constants: dict[str, Any] | None = None,
    *,
    inputs: int = 1,
    element: int = TensorProto.FLOAT,
    opset: int = 17,
    out_shape: list[Any] | None = None,
) -> onnx.ModelProto:
    def value(name: str, given: list[Any] | None) -> Any:
        return helper.make_tensor_value_info(name, element, given)

    graph = helper.make_graph(
        nodes,
        "theirs",
        [value("x" if n == 0 else f"x{n}", shape) for n in range(inputs)],
        [value("out", out_shape)],
        [numpy_helper.from_array(np.asarray(v), k) for k, v in (constants or {}).items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def negative(highest: float, lowest: float = 0.0, **options: Any) -> onnx.ModelProto:
    """Every sample x to lowest + highest - x: looks the same in every layout."""
    nodes = [helper.make_node("Sub", ["top", "x"], ["out"])]
    return network(nodes, constants={"top": np.float32(highest + lowest)}, **options)


def without_red(axis: int, channel: int) -> onnx.ModelProto:
    """One channel of three to nothing."""
    shape = [1, 1, 1, 1]
    shape[axis] = 3
    keep = np.ones(3, np.float32)
    keep[channel] = 0
    nodes = [helper.make_node("Mul", ["x", "keep"], ["out"])]
    free: list[Any] = ["N", "H", "W", 3] if axis == 3 else FREE
    return network(nodes, free, {"keep": keep.reshape(shape)})


@pytest.fixture
def save(tmp_path: Path) -> Save:
    def save(model: onnx.ModelProto | bytes, name: str = "theirs.onnx") -> Path:
        path = tmp_path / name
        path.write_bytes(model if isinstance(model, bytes) else model.SerializeToString())
        return path

    return save


def calm(width: int, height: int) -> list[NDArray[np.uint8]]:
    """Planes of a picture whose colours all lie inside of RGB, so that nothing is clipped."""
    y, u, v = (plane.array().astype(float) - 128 for plane in picture(width, height).planes)
    return [np.round(128 + plane).astype(np.uint8) for plane in (y * 0.4, u * 0.2, v * 0.2)]


def run(
    model: onnx.ModelProto, planes: list[NDArray[np.uint8]], strength: float = 1.0
) -> list[NDArray[np.uint8]]:
    session = ort.InferenceSession(model.SerializeToString(), None, ["CPUExecutionProvider"])
    inputs: dict[str, Any] = {n: p[None, None] for n, p in zip("yuv", planes, strict=True)}
    if len(session.get_inputs()) == 4:
        inputs["strength"] = np.full((1, 1, 1, 1), strength, np.float32)
    return [out[0, 0] for out in session.run(["y_out", "u_out", "v_out"], inputs)]


def apart(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> float:
    return float(np.abs(one.astype(int) - other.astype(int)).mean())


@pytest.mark.parametrize(
    ("model", "layout"),
    [
        (negative(1.0), ""),
        (negative(1.0), "bgr"),
        (negative(255.0), "0..255"),
        (negative(1.0, -1.0), "-1..1"),
        (negative(1.0, shape=["N", "H", "W", 3]), ""),
        (negative(1.0, shape=[1, 3, 48, 64]), ""),
        (negative(1.0, shape=["N", "C", "H", "W"]), "nchw"),
        (negative(1.0, opset=9), ""),
    ],
    ids=["rgb", "bgr", "bytes", "signed", "nhwc", "fixed", "named axes", "old"],
)
def test_every_layout_gives_the_same_picture(
    save: Save, model: onnx.ModelProto, layout: str
) -> None:
    composed, facts = vet(save(model), parse_layout(layout))
    given = calm(64, 48)
    y, u, v = run(composed, given)
    assert facts["scale"] == 1
    assert apart(y, 251 - given[0]) < 0.6
    # Chroma is interpolated up and averaged down, which smooths its noise.
    assert apart(u, 0 - given[1]) < 1.5
    assert apart(v, 0 - given[2]) < 1.5


@pytest.mark.parametrize(
    ("layout", "axis", "channel"), [("rgb", 1, 0), ("bgr", 1, 2), ("rgb", 3, 0), ("bgr", 3, 2)]
)
def test_the_channels_come_in_the_order_that_the_layout_says(
    save: Save, layout: str, axis: int, channel: int
) -> None:
    composed, _ = vet(save(without_red(axis, channel)), parse_layout(layout))
    given = calm(64, 48)
    _, _, v = run(composed, given)
    assert v.mean() < 100 < given[2].mean(), "red is gone"


@pytest.mark.parametrize(("matrix", "full_range"), [("bt601", False), ("bt709", True)])
def test_another_colour_matrix_is_in_the_graph(save: Save, matrix: str, full_range: bool) -> None:
    composed, _ = vet(save(negative(1.0)), PictureLayout())
    folded = fold_color(composed, matrix=matrix, full_range=full_range)
    given = calm(64, 48)
    y, u, _ = run(folded, given)
    assert apart(y, (255 if full_range else 251) - given[0]) < 0.6
    assert apart(u, 0 - given[1]) < 1.5
    assert apart(y, run(composed, given)[0]) > (1.0 if full_range else -1.0)
    assert len(folded.graph.node) == len(composed.graph.node)


def test_strength_0_gives_the_picture_back_bit_for_bit(save: Save) -> None:
    composed, facts = vet(save(negative(1.0)), PictureLayout())
    assert facts["live"] == ["strength"]
    given = [plane.array() for plane in picture(64, 48).planes]
    for plane, got in zip(given, run(composed, given, 0.0), strict=True):
        np.testing.assert_array_equal(got, plane)


def test_a_network_that_enlarges_is_found_out(save: Save) -> None:
    scales = np.array([1, 1, 2, 2], np.float32)
    nodes = [helper.make_node("Resize", ["x", "", "scales"], ["out"], mode="nearest")]
    composed, facts = vet(save(network(nodes, constants={"scales": scales})), PictureLayout())
    assert (facts["scale"], facts["live"]) == (2, [])
    y, u, _ = run(composed, calm(64, 48))
    assert (y.shape, u.shape) == ((96, 128), (48, 64))


def test_a_network_that_wants_whole_multiples_gets_them(save: Save) -> None:
    nodes = [
        helper.make_node("SpaceToDepth", ["x"], ["packed"], blocksize=16),
        helper.make_node("DepthToSpace", ["packed"], ["out"], blocksize=16),
    ]
    _, facts = vet(save(network(nodes)), PictureLayout())
    assert facts["multiple"] == 16


def test_operators_of_the_first_exporters_are_rewritten(save: Save) -> None:
    nodes = [
        helper.make_node("ImageScaler", ["x"], ["a"], bias=[-10.0, -20.0, -30.0], scale=1.0),
        helper.make_node("Pad", ["a"], ["p"], mode="reflect", pads=[0, 0, 2, 2, 0, 0, 2, 2]),
        helper.make_node("Crop", ["p"], ["c"], border=[2, 2, 2, 2]),
        helper.make_node("Affine", ["c"], ["out"], alpha=-1.0, beta=255.0),
    ]
    model = network(nodes, [1, 3, 32, 32], opset=7, out_shape=[1, 3, 32, 32])
    composed, facts = vet(save(model), parse_layout("bgr,0..255"))
    assert facts["fixed"] == "32x32"
    assert run(composed, calm(64, 48))[0].shape == (48, 64)


CONSTANT = [helper.make_node("Identity", ["x"], ["out"])]


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (b"this is no network", "not an ONNX file"),
        (b"\x00" * 64, "not an ONNX file"),
        (network(CONSTANT, inputs=2), "it has 2"),
        (network(CONSTANT, ["N", 1, "H", "W"]), "3 channels is needed, the input is \\?x1x"),
        (network(CONSTANT, None), "rank is not given"),
        (network(CONSTANT, [1, 3, 8]), "3 axes"),
        (network(CONSTANT, element=TensorProto.INT64), "is int64"),
        (
            network([helper.make_node("Log", ["m"], ["out"]),
                     helper.make_node("Neg", ["x"], ["m"])][::-1]),
            "not numbers",
        ),
        (
            network([helper.make_node("ReduceMean", ["x"], ["out"], axes=[1])]),
            "3 channels is needed, the output is 1x1x",
        ),
        (
            network([helper.make_node("GlobalAveragePool", ["x"], ["out"])]),
            "same size or a whole multiple",
        ),
        (network([helper.make_node("Nonsense", ["x"], ["out"])]), "cannot be"),
    ],
    ids=["text", "zeros", "inputs", "grey", "no rank", "rank", "integers", "NaN", "channels out",
         "size out", "operator"],
)  # fmt: skip
def test_an_unsuitable_network_is_refused_with_the_reason(
    save: Save, model: onnx.ModelProto | bytes, reason: str
) -> None:
    with pytest.raises(ModelError, match=reason) as caught:
        vet(save(model), PictureLayout())
    assert "\n" not in str(caught.value)


def test_a_network_without_output_or_cut_short_is_refused(save: Save) -> None:
    model = negative(1.0)
    del model.graph.output[:]
    with pytest.raises(ModelError, match="no output"):
        vet(save(model), PictureLayout())
    whole = network(CONSTANT * 1, constants={"w": np.zeros(4000, np.float32)}).SerializeToString()
    with pytest.raises(ModelError):
        vet(save(whole[: len(whole) // 2]), PictureLayout())


@pytest.mark.parametrize("location", ["/etc/hostname", "../weights.bin", "a/../../b", "link"])
def test_weights_outside_of_the_folder_are_refused(
    save: Save, tmp_path: Path, location: str
) -> None:
    (tmp_path / "link").symlink_to("/etc/hostname")
    model = negative(1.0)
    set_external_data(model.graph.initializer[0], location)
    model.graph.initializer[0].ClearField("raw_data")
    with pytest.raises(ModelError, match="outside of its folder"):
        vet(save(model), PictureLayout())


def test_weights_in_a_file_beside_the_model_are_taken_in(save: Save, tmp_path: Path) -> None:
    model = negative(1.0)
    (tmp_path / "weights.bin").write_bytes(np.float32(1.0).tobytes())
    set_external_data(model.graph.initializer[0], "weights.bin", offset=0, length=4)
    model.graph.initializer[0].ClearField("raw_data")
    composed, _ = vet(save(model), PictureLayout())
    assert run(composed, calm(64, 48))[0].shape == (48, 64)


def test_an_imported_model_is_in_the_catalog_and_replaced_whole(
    save: Save, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STREAMGEN_CACHE", str(tmp_path / "cache"))
    old = tmp_path / "cache" / "models" / "theirs"
    old.mkdir(parents=True)
    (old / "stale.txt").touch()
    spec = import_model(save(negative(255.0)), layout=parse_layout("bgr,0..255"))
    assert models()["theirs"] == spec
    assert (spec.kind, spec.scale, spec.live) == ("imported", 1, ("strength",))
    assert sorted(path.name for path in old.iterdir()) == ["manifest.toml", "model.onnx"]
    assert [path.name for path in old.parent.iterdir()] == ["theirs"]
    assert run(onnx.load(spec.files["fp32"]), calm(64, 48))[0].shape == (48, 64)


def test_a_refused_model_leaves_nothing_behind(save: Save, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"^bad\.onnx: not an ONNX file, or cut short$"):
        import_model(save(b"bad", "bad.onnx"), cache=tmp_path)
    assert not list((tmp_path / "models").iterdir())


def test_checking_a_model_is_bounded_in_time(save: Save, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"took longer than 0\.01 s"):
        import_model(save(negative(1.0)), cache=tmp_path, timeout_s=0.01)
    assert not list((tmp_path / "models").iterdir())


def test_checking_a_model_is_bounded_in_memory(save: Save, tmp_path: Path) -> None:
    # 64 GB of zeros, asked for in a hundred bytes.
    nodes = [
        helper.make_node("ConstantOfShape", ["huge"], ["zeros"]),
        helper.make_node("ReduceMax", ["zeros"], ["none"], axes=[0], keepdims=0),
        helper.make_node("Add", ["x", "none"], ["out"]),
    ]
    huge = network(nodes, constants={"huge": np.array([1 << 34])})
    with pytest.raises(ModelError, match=r"cannot be|memory"):
        import_model(save(huge), cache=tmp_path)


def test_a_network_that_never_ends_is_stopped(save: Save, tmp_path: Path) -> None:
    keep = helper.make_graph(
        [helper.make_node("Identity", [f"{n}_in"], [f"{n}_next"]) for n in ("on", "now")],
        "keep",
        [
            helper.make_tensor_value_info("turn", TensorProto.INT64, []),
            helper.make_tensor_value_info("on_in", TensorProto.BOOL, []),
            helper.make_tensor_value_info("now_in", TensorProto.FLOAT, None),
        ],
        [
            helper.make_tensor_value_info("on_next", TensorProto.BOOL, []),
            helper.make_tensor_value_info("now_next", TensorProto.FLOAT, None),
        ],
    )
    nodes = [helper.make_node("Loop", ["", "yes", "x"], ["out"], body=keep)]
    endless = network(nodes, constants={"yes": np.array(True)})
    with pytest.raises(ModelError, match="took longer than 3 s"):
        import_model(save(endless), cache=tmp_path, timeout_s=3.0)
    assert not list((tmp_path / "models").iterdir())


def test_missing_empty_and_too_large_files_are_refused(
    save: Save, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ModelError, match="cannot read"):
        import_model(tmp_path / "missing.onnx", cache=tmp_path)
    with pytest.raises(ModelError, match="empty"):
        import_model(save(b"", "empty.onnx"), cache=tmp_path)
    large = tmp_path / "large.onnx"
    with large.open("wb") as file:
        file.truncate(vetting.FILE_BYTES + 1)
    with pytest.raises(ModelError, match="larger than 512 MiB"):
        import_model(large, cache=tmp_path)


@pytest.mark.parametrize("name", ["../up", "a/b", "", ".hidden", "x" * 65, "new\nline"])
def test_a_name_that_is_no_plain_word_is_refused(save: Save, tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="name"):
        import_model(save(negative(1.0)), name=name, cache=tmp_path)


@pytest.mark.skipif(
    "STREAMGEN_TEST_DATA" not in os.environ, reason="STREAMGEN_TEST_DATA does not name the data"
)
def test_a_published_style_network_of_2018_paints(tmp_path: Path) -> None:
    candy = Path(os.environ["STREAMGEN_TEST_DATA"]) / "weights" / "fns" / "candy.onnx"
    spec = import_model(candy, layout=parse_layout("bgr,0..255"), cache=tmp_path)
    given = calm(128, 96)
    y, *_ = run(onnx.load(spec.files["fp32"]), given)
    assert spec.notes["fixed"] == "720x720"
    assert apart(y, given[0]) > 10
