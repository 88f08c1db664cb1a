"""`LoadedKernels`: the kernels on one GPU, ready to be started."""

from __future__ import annotations

import ctypes
from pathlib import Path

from cuda.bindings import driver
from cuda.core import Device, ObjectCode, Stream

from streamgen.cuda.launch import Launch
from streamgen.cuda.planes import KERNELS as PLANES
from streamgen.cuda.program import cubin
from streamgen.cuda.rungs import KERNELS as RUNGS
from streamgen.errors import DeviceError

KERNELS = {"planes": PLANES, "rungs": RUNGS}
"""By the name of their source."""


class LoadedKernels:
    """Compiled for `device`, which is current, and loaded once for the life of a worker."""

    def __init__(self, device: Device, cache: Path) -> None:
        """A second or two where nothing is cached yet. Raises `DeviceError`."""
        self._kernels = {}
        for source, names in KERNELS.items():
            code = ObjectCode.from_cubin(cubin(source, f"sm_{device.arch}", cache))
            for name in names:
                self._kernels[name] = code.get_kernel(name)

    def start(self, launch: Launch, stream: Stream) -> None:
        """Start it behind what `stream` already has to do, and return. Raises `DeviceError`.

        Whoever calls keeps all memory alive until the stream has come past it. cuda.core's own
        `launch` takes no structures, so the driver is asked.
        """
        parameters = (ctypes.c_void_p * 1)(ctypes.addressof(launch.job))
        (status,) = driver.cuLaunchKernel(
            driver.CUfunction(int(self._kernels[launch.kernel].handle)),
            *launch.grid,
            *launch.block,
            launch.shared_bytes,
            stream.handle,
            ctypes.addressof(parameters),
            0,
        )
        if status != driver.CUresult.CUDA_SUCCESS:
            raise DeviceError(f"{launch.kernel} does not start: {status.name}")
