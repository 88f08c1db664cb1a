"""The manifest says of every model what the engine must know, and the files are those it names."""

from __future__ import annotations

import hashlib

import onnx
import pytest
from probes import CASES, MODELS, PACKAGE, file_of


@pytest.mark.parametrize(("name", "precision"), CASES)
def test_every_file_is_the_one_the_manifest_names(name: str, precision: str) -> None:
    model = next(m for m in MODELS if m["name"] == name)
    data = file_of(name, precision).read_bytes()
    assert hashlib.sha256(data).hexdigest() == model["sha256"][precision]
    assert len(data) < 3_000_000


@pytest.mark.parametrize("model", MODELS, ids=lambda m: str(m["name"]))
def test_every_entry_is_complete(model: dict[str, object]) -> None:
    wanted = {"name", "kind", "parameters", "multiple", "scale", "matrix", "range"}
    wanted |= {"license", "credit", "teacher", "card", "files", "sha256"}
    live = set() if model["kind"] == "sr" else {"live"}
    assert set(model) == wanted | live
    assert model["kind"] in {"style", "restore", "sr"}
    assert (PACKAGE.parent / "cards" / str(model["card"])).is_file()


@pytest.mark.parametrize(("name", "precision"), CASES)
def test_every_graph_keeps_the_contract(name: str, precision: str) -> None:
    model = onnx.load(str(file_of(name, precision)))
    assert model.ir_version <= 9
    assert [opset.version for opset in model.opset_import] == [17]
    entry = next(m for m in MODELS if m["name"] == name)
    live = [] if entry["kind"] == "sr" else ["strength"]
    assert [value.name for value in model.graph.input] == ["y", "u", "v", *live]
    assert [value.name for value in model.graph.output] == ["y_out", "u_out", "v_out"]
    constants = {c.name for c in model.graph.initializer}
    assert {"center", "first.bias", "last.bias"} <= constants
    if precision == "fp32":
        assert {"first.weight", "last.weight"} <= constants


@pytest.mark.parametrize("model", MODELS, ids=lambda m: str(m["name"]))
def test_the_number_of_parameters_is_counted(model: dict[str, object]) -> None:
    graph = onnx.load(str(file_of(str(model["name"]), "fp32"))).graph
    sizes = [
        tensor.dims for tensor in graph.initializer if tensor.name.endswith((".weight", ".bias"))
    ]
    total = 0
    for dims in sizes:
        count = 1
        for side in dims:
            count *= side
        total += count
    assert total == model["parameters"]
