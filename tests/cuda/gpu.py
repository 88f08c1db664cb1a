"""The bench that is a GPU. Imported where there is one."""

from __future__ import annotations

import numpy as np
from cuda.bindings import driver
from cuda.core import Device as CudaDevice
from cuda.core import Stream

from streamgen.config import cache_dir
from streamgen.cuda.launch import Launch
from streamgen.cuda.loaded import LoadedKernels
from streamgen.media.frame import Device
from tests.cuda.bench import Bytes


class CudaBench:
    """The first device that CUDA shows."""

    device = Device("cuda")

    def __init__(self) -> None:
        gpu = CudaDevice(0)
        gpu.set_current()
        self._gpu = gpu
        self._stream: Stream = gpu.create_stream()
        self._kernels = LoadedKernels(gpu, cache_dir())
        self._memory = {}

    def put(self, data: Bytes) -> int:
        flat = np.ascontiguousarray(data).reshape(-1)
        buffer = self._gpu.memory_resource.allocate(flat.size, stream=self._stream)
        self._stream.sync()
        address = int(buffer.handle)
        check(driver.cuMemcpyHtoD(address, flat.ctypes.data, flat.size))
        self._memory[address] = buffer
        return address

    def get(self, address: int) -> Bytes:
        made = np.empty(self._memory[address].size, np.uint8)
        check(driver.cuMemcpyDtoH(made.ctypes.data, address, made.size))
        return made

    def run(self, launch: Launch) -> None:
        self._kernels.start(launch, self._stream)
        self._stream.sync()


def check(answer: tuple[driver.CUresult, ...]) -> None:
    assert answer[0] == driver.CUresult.CUDA_SUCCESS, answer[0].name
