"""OpenVINO on x86-64 processors: the fast one for 8-bit networks.

Planes are wrapped as tensors by address, inputs and outputs alike: the network reads the decoder's
memory and writes into the pool's.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
from numpy.typing import NDArray

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

VERSION: str = ov.__version__


class OpenVINORuntime:
    """One network compiled for one size. `submit` belongs to one thread at a time."""

    def __init__(
        self, model: bytes | Path, *, width: int, height: int, settings: EngineSettings
    ) -> None:
        """Read and compile; takes from a tenth of a second to many. Raises `ModelError`."""
        self.settings = settings
        try:
            # OpenVINO gives the thread that loads its plugin a stack for signals, and unmaps that
            # with the last network, on whatever thread: a later signal there ends the process.
            with ThreadPoolExecutor(1, "openvino") as passing:
                compiled = passing.submit(_compile, model, width, height, settings).result()
            requests = [_Request(compiled) for _ in range(settings.requests)]
        except RuntimeError as error:
            raise ModelError(f"OpenVINO cannot load the network: {_reason(error)}") from error
        self._requests = Requests(requests, (RuntimeError,), _reason, "openvino")

    def submit(self, inputs: Inputs, out: Mapping[str, Plane]) -> Completion:
        """Start one picture; see `protocols.Runtime`. Raises `ModelError`."""
        return self._requests.submit(inputs, out)

    def close(self) -> None:
        """Wait for what is on its way, then free the network."""
        self._requests.close()


def _compile(model: bytes | Path, width: int, height: int, settings: EngineSettings) -> Any:
    core = ov.Core()
    network = core.read_model(model)
    names = [port.get_any_name() for port in network.inputs]
    check_names(names, [port.get_any_name() for port in network.outputs])
    network.reshape({name: list(input_shape(name, width, height)) for name in names})
    return core.compile_model(
        network,
        "CPU",
        {
            "PERFORMANCE_HINT": "LATENCY" if settings.requests == 1 else "THROUGHPUT",
            "NUM_STREAMS": settings.requests,
            "INFERENCE_NUM_THREADS": settings.threads,
            # Encoders and decoders need the same processors: nobody may claim one for good.
            "ENABLE_CPU_PINNING": False,
            # bfloat16 is slower than float32 without AMX, and two machines must give one picture.
            "INFERENCE_PRECISION_HINT": "f32",
        },
    )


class _Request:
    """An infer request and what its ports look at."""

    def __init__(self, compiled: Any) -> None:
        self._request = compiled.create_infer_request()
        self._planes: list[Port] = []
        self._values: list[tuple[str, Any]] = []
        for index, port in enumerate(compiled.inputs):
            bind = partial(self._request.set_input_tensor, index)
            if port.get_element_type() == ov.Type.u8:
                self._planes.append(_port(port, bind))
            else:
                value = np.zeros(tuple(port.get_shape()), np.float32)
                bind(_tensor(value))
                self._values.append((port.get_any_name(), value))
        for index, port in enumerate(compiled.outputs):
            self._planes.append(_port(port, partial(self._request.set_output_tensor, index)))

    def bind(self, inputs: Inputs, out: Mapping[str, Plane]) -> None:
        for name, value in self._values:
            value.fill(inputs[name])
        for port in self._planes:
            port.point((out if port.name in out else inputs)[port.name])

    def run(self) -> None:
        self._request.start_async()
        self._request.wait()


def _tensor(array: NDArray[Any]) -> Any:
    return ov.Tensor(array, shared_memory=True)


def _port(port: Any, bind: Any) -> Port:
    """The size of an output may be known only after a run."""
    static = port.get_partial_shape().is_static
    return Port(port.get_any_name(), tuple(port.get_shape())[2:] if static else None, _tensor, bind)


def _reason(error: BaseException) -> str:
    """OpenVINO's messages go through its source files, and say last what is wrong."""
    return lines(error)[-1]
