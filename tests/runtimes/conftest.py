"""Both runtimes in turn, and a catalog entry."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from streamgen.plugins import find
from streamgen.protocols import ModelSpec
from streamgen.runtimes.engine import EngineSettings

from .networks import widening


@pytest.fixture(params=["openvino", "onnx"])
def runtime(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """Opens a network on each runtime in turn: `runtime(model, 64, 48, threads=1, requests=1)`."""
    runtime_class = find("runtime", request.param)

    def open_runtime(model: bytes | Path, width: int, height: int, **settings: int) -> Any:
        return runtime_class(model, width=width, height=height, settings=EngineSettings(**settings))

    return open_runtime


@pytest.fixture
def tiny_model(tmp_path: Path) -> ModelSpec:
    """A catalog entry for `widening`."""
    path = tmp_path / "widening.onnx"
    path.write_bytes(widening())
    return ModelSpec("widening", "style", {"fp32": path}, live=("strength",))
