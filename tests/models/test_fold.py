"""A folded network does to BT.601 or full-range planes what conversion there and back would."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from probes import CASES, RUNTIMES, Planes, file_of, picture, with_strength

from streamgen_models import fold_color

Array = npt.NDArray[np.float64]
PRIMARIES = {"bt709": (0.2126, 0.0722), "bt601": (0.299, 0.114), "bt2020": (0.2627, 0.0593)}
FOLDED = [case for case in CASES if case[0] in {"starry", "restore"}]
SPACES = [("bt601", False), ("bt709", True), ("bt601", True), ("bt2020", False)]


def rows(matrix: str, full_range: bool) -> tuple[Array, Array]:
    """The textbook conversion from RGB, written out independently of `fold`."""
    red, blue = PRIMARIES[matrix]
    green = 1 - red - blue
    luma, chroma, black = (255.0, 255.0, 0.0) if full_range else (219.0, 224.0, 16.0)
    u = np.array([-red, -green, 1 - blue]) / (2 * (1 - blue))
    v = np.array([1 - red, -green, -blue]) / (2 * (1 - red))
    table = np.stack([luma * np.array([red, green, blue]), chroma * u, chroma * v])
    return table, np.array([black, 128.0, 128.0])


def converted(planes: Planes, source: tuple[str, bool], target: tuple[str, bool]) -> Planes:
    """Bytes of one space as bytes of another; each luma sample uses the chroma above it."""
    from_rows, from_black = rows(*source)
    to_rows, to_black = rows(*target)
    y, u, v = (p[0, 0].astype(float) for p in planes)
    spread = [np.repeat(np.repeat(p, 2, 0), 2, 1) for p in (u, v)]
    pixel = np.stack([y, *spread], -1) - from_black
    changed = pixel @ (to_rows @ np.linalg.inv(from_rows)).T + to_black
    as_bytes = np.clip(np.round(changed), 0, 255).astype(np.uint8)
    whole, quarter = as_bytes[..., 0], as_bytes[::2, ::2]
    return whole[None, None], quarter[None, None, ..., 1], quarter[None, None, ..., 2]


@pytest.mark.parametrize(("matrix", "full_range"), SPACES)
@pytest.mark.parametrize(("name", "precision"), FOLDED)
def test_folding_equals_converting_there_and_back(
    name: str, precision: str, matrix: str, full_range: bool
) -> None:
    space, trained = (matrix, full_range), ("bt709", False)
    model = onnx.load(str(file_of(name, precision)))
    plain = RUNTIMES["onnxruntime"](model.SerializeToString())
    folded_model = fold_color(model, matrix=matrix, full_range=full_range)
    onnx.checker.check_model(folded_model)
    folded = RUNTIMES["onnxruntime"](folded_model.SerializeToString())

    source = picture(64, 96)
    given = converted((source["y"], source["u"], source["v"]), trained, space)
    inputs = dict(zip("yuv", given, strict=True))
    found = folded(with_strength(inputs, name, 1.0))
    there = dict(zip("yuv", converted(given, space, trained), strict=True))
    wanted = converted(plain(with_strength(there, name, 1.0)), trained, space)
    for plane, (a, b) in zip("yuv", zip(found, wanted, strict=True), strict=True):
        edge = ((a > 2) & (a < 253) & (b > 2) & (b < 253))[..., 4:-4, 4:-4]
        difference = np.abs(a.astype(int) - b.astype(int))[..., 4:-4, 4:-4][edge]
        assert difference.mean() < 1.3, (plane, difference.mean())

    unchanged = folded(with_strength(inputs, name, 0.0))
    for a, b in zip(unchanged, given, strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_trained_space_folds_to_the_same_model() -> None:
    model = onnx.load(str(file_of(*CASES[0])))
    same = fold_color(model, matrix="bt709", full_range=False)
    assert same.SerializeToString() == model.SerializeToString()


def test_the_residual_of_a_full_range_picture_has_room_for_its_steps() -> None:
    model = onnx.load(str(file_of("starry", "int8")))
    folded = fold_color(model, matrix="bt709", full_range=True)
    before, after = (
        {c.name: onnx.numpy_helper.to_array(c) for c in m.graph.initializer}["residual.scale"]
        for m in (model, folded)
    )
    assert after / before == pytest.approx(255 / 219)


def test_an_unknown_matrix_is_refused() -> None:
    model = onnx.load(str(file_of(*CASES[0])))
    with pytest.raises(ValueError, match="bt470"):
        fold_color(model, matrix="bt470", full_range=False)
