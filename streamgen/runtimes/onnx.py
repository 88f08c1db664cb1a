"""ONNX Runtime: the portable one, and the one that takes every operator.

Planes are bound by address, inputs and outputs alike: the network reads the decoder's memory and
writes into the pool's.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from onnxruntime.capi import onnxruntime_pybind11_state as native

from streamgen.errors import ModelError
from streamgen.media.frame import Plane
from streamgen.protocols import Inputs
from streamgen.runtimes.engine import (
    Completion,
    EngineSettings,
    Port,
    Requests,
    check_names,
    input_shape,
    lines,
)

VERSION: str = ort.__version__
# ONNX Runtime's exceptions have no common base of their own.
FAILURES = (
    native.EPFail,
    native.Fail,
    native.InvalidArgument,
    native.InvalidGraph,
    native.InvalidProtobuf,
    native.NoSuchFile,
    native.NotImplemented,
    native.RuntimeException,
    RuntimeError,
    ValueError,
)
SILENT = 4
_PREFIX = re.compile(r"^\[ONNXRuntimeError\] : \d+ : \w+ : ")


class OnnxRuntime:
    """One network compiled for one size. `submit` belongs to one thread at a time."""

    def __init__(
        self, model: bytes | Path, *, width: int, height: int, settings: EngineSettings
    ) -> None:
        """Read and compile; takes from a tenth of a second to many. Raises `ModelError`."""
        self.settings = settings
        try:
            session = _compile(model, width, height, settings)
            requests = [_Request(session, width, height) for _ in range(settings.requests)]
        except FAILURES as error:
            raise ModelError(f"ONNX Runtime cannot load the network: {_reason(error)}") from error
        self._requests = Requests(requests, FAILURES, _reason, "onnxruntime")

    def submit(self, inputs: Inputs, out: Mapping[str, Plane]) -> Completion:
        """Start one picture; see `protocols.Runtime`. Raises `ModelError`."""
        return self._requests.submit(inputs, out)

    def close(self) -> None:
        """Wait for what is on its way, then free the network."""
        self._requests.close()


def _compile(model: bytes | Path, width: int, height: int, settings: EngineSettings) -> Any:
    source = model if isinstance(model, bytes) else str(model)
    described = ort.InferenceSession(source, _options(1, optimise=False), ["CPUExecutionProvider"])
    names = [port.name for port in described.get_inputs()]
    check_names(names, [port.name for port in described.get_outputs()])
    # Requests that run at once share the session's pool, and each brings its own thread.
    options = _options(max(1, settings.threads // settings.requests), optimise=True)
    for port in described.get_inputs():
        shape = input_shape(port.name, width, height)
        for symbol, size in zip(port.shape, shape, strict=True):
            if isinstance(symbol, str):
                options.add_free_dimension_override_by_name(symbol, size)
    return ort.InferenceSession(source, options, ["CPUExecutionProvider"])


def _options(threads: int, *, optimise: bool) -> Any:
    options = ort.SessionOptions()
    options.log_severity_level = SILENT
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    level = ort.GraphOptimizationLevel
    options.graph_optimization_level = level.ORT_ENABLE_ALL if optimise else level.ORT_DISABLE_ALL
    # Spinning between pictures would take the processors from decoders and encoders.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return options


class _Request:
    """A binding and what its ports look at."""

    def __init__(self, session: Any, width: int, height: int) -> None:
        self._session = session
        self._binding = session.io_binding()
        self._planes: list[Port] = []
        self._values: list[tuple[str, Any]] = []
        for port in session.get_inputs():
            bind = partial(self._binding.bind_ortvalue_input, port.name)
            if port.type == "tensor(uint8)":
                shape = input_shape(port.name, width, height)[2:]
                self._planes.append(Port(port.name, shape, _tensor, bind))
            else:
                value = np.zeros((1, 1, 1, 1), np.float32)
                bind(_tensor(value))
                self._values.append((port.name, value))
        for port in session.get_outputs():
            bind = partial(self._binding.bind_ortvalue_output, port.name)
            self._planes.append(Port(port.name, None, _tensor, bind))

    def bind(self, inputs: Inputs, out: Mapping[str, Plane]) -> None:
        for name, value in self._values:
            value.fill(inputs[name])
        for port in self._planes:
            port.point((out if port.name in out else inputs)[port.name])

    def run(self) -> None:
        self._session.run_with_iobinding(self._binding)


def _tensor(array: NDArray[Any]) -> Any:
    return ort.OrtValue.ortvalue_from_numpy(array)


def _reason(error: BaseException) -> str:
    """ONNX Runtime says first what is wrong, after its own codes."""
    return _PREFIX.sub("", lines(error)[0])


class Reference:
    """Runs any network on arrays, as it is: for checking strangers' files, not for streams."""

    def __init__(self, model: bytes) -> None:
        """Raises `ModelError`."""
        try:
            options = _options(1, optimise=True)
            self._session = ort.InferenceSession(model, options, ["CPUExecutionProvider"])
        except FAILURES as error:
            raise ModelError(f"the network cannot be loaded: {_reason(error)}") from error

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
        """All outputs in their order. Raises `ModelError`."""
        try:
            outputs = self._session.run(None, dict(inputs))
        except FAILURES as error:
            raise ModelError(f"the network cannot be run: {_reason(error)}") from error
        return [np.asarray(output) for output in outputs]
