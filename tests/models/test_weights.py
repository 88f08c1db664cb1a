"""Every shipped model, in both precisions, on both processors' runtimes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from probes import BY_NAME, CASES, RUNTIMES, file_of, picture, with_strength

GOLDEN = json.loads((Path(__file__).parent / "golden.json").read_text())
PAINTERS = [case for case in CASES if BY_NAME[case[0]]["kind"] != "sr"]


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize(("name", "precision"), PAINTERS)
def test_strength_zero_returns_the_picture_bit_for_bit(
    name: str, precision: str, runtime: str
) -> None:
    run = RUNTIMES[runtime](file_of(name, precision).read_bytes())
    rng = np.random.default_rng(2)
    planes = picture(48, 64)
    planes["y"] = rng.integers(0, 256, planes["y"].shape, dtype=np.uint8)
    for before, after in zip(planes.values(), run(with_strength(planes, name, 0.0)), strict=True):
        np.testing.assert_array_equal(before, after)


@pytest.mark.parametrize(("name", "precision"), PAINTERS)
def test_strength_is_live(name: str, precision: str) -> None:
    run = RUNTIMES["onnxruntime"](file_of(name, precision).read_bytes())
    planes = picture(64, 96)
    y = {s: run(with_strength(planes, name, s))[0].astype(int) for s in (0.5, 1.0)}
    moves = [np.abs(y[s] - planes["y"]).mean() for s in (0.5, 1.0)]
    assert 0 < moves[0] < moves[1]
    inside = (y[1.0] > 0) & (y[1.0] < 255)  # clipping bends the line
    halfway = (y[1.0] + planes["y"].astype(int)) / 2
    assert np.abs(y[0.5] - halfway)[inside].max() <= 1


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize(("name", "precision"), CASES)
def test_any_size_runs_and_gives_the_known_picture(name: str, precision: str, runtime: str) -> None:
    run = RUNTIMES[runtime](file_of(name, precision).read_bytes())
    scale = BY_NAME[name]["scale"]
    for height, width in ((48, 64), (20, 36), (120, 160)):
        planes = picture(height, width)
        outputs = run(with_strength(planes, name, 1.0))
        for plane, output in zip(planes.values(), outputs, strict=True):
            assert output.shape == (1, 1, plane.shape[2] * scale, plane.shape[3] * scale)
    for output, (mean, deviation) in zip(outputs, GOLDEN[f"{name}.{precision}"], strict=True):
        assert output.mean() == pytest.approx(mean, abs=0.5)
        assert output.std() == pytest.approx(deviation, abs=0.7)


@pytest.mark.parametrize("name", BY_NAME)
def test_int8_and_both_runtimes_agree(name: str) -> None:
    inputs = with_strength(picture(120, 160), name, 1.0)
    exact = RUNTIMES["onnxruntime"](file_of(name, "fp32").read_bytes())(inputs)[0].astype(float)
    for precision, mean, most in (("fp32", 0.05, 2), ("int8", 1.5, 40)):
        found = RUNTIMES["openvino"](file_of(name, precision).read_bytes())(inputs)[0]
        assert np.abs(found - exact).mean() < mean
        assert np.abs(found - exact).max() <= most


@pytest.mark.parametrize(("name", "precision"), CASES)
def test_frames_of_a_batch_do_not_see_each_other(name: str, precision: str) -> None:
    run = RUNTIMES["onnxruntime"](file_of(name, precision).read_bytes())
    one = picture(48, 64)
    two = {key: plane[:, :, ::-1].copy() for key, plane in one.items()}
    both = {key: np.concatenate([one[key], two[key]]) for key in one}
    inputs = with_strength(both, name, 1.0)
    if "strength" in inputs:
        inputs["strength"] = np.float32([1.0, 0.0]).reshape(2, 1, 1, 1)
    together = run(inputs)
    alone = run(with_strength(one, name, 1.0))
    for a, b in zip(together, alone, strict=True):
        assert np.abs(a[:1].astype(int) - b).max() <= 1
    if "strength" in inputs:
        np.testing.assert_array_equal(together[0][1:], two["y"])
