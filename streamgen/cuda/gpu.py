"""`Gpu`: one NVIDIA GPU in this process: its context, memory, streams, and libav's way to it.

Never run on a GPU so far: what of it a processor can show is in `tests/cuda`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import av
from av.codec.hwaccel import HWAccel
from av.video.frame import CudaContext
from cuda.bindings import driver
from cuda.core import LEGACY_DEFAULT_STREAM, Buffer, Event, LegacyPinnedMemoryResource, Stream
from cuda.core import Device as CudaDevice

# The public names of cuda.core have no error.
from cuda.core._utils.cuda_utils import CUDAError
from numpy.typing import NDArray

from streamgen.cuda.dlpack import exported
from streamgen.cuda.launch import Launch
from streamgen.cuda.loaded import LoadedKernels
from streamgen.cuda.started import StartedKernels
from streamgen.errors import DeviceError
from streamgen.media.blitter import Blitter
from streamgen.media.frame import CPU, Device, Fence, Frame, Plane
from streamgen.media.pool import FramePool
from streamgen.plugins import find
from streamgen.protocols import Hardware

ROW_BYTES = 256
"""Rows of pictures begin at multiples of this, as NVENC and the kernels' wide loads like them."""
CURRENT_CONTEXT = {"primary_ctx": "0", "current_ctx": "1"}
"""libavutil takes the context that is current. Asked for the primary one it refuses what somebody
else made with other flags, and NVENC refuses addresses of another context."""


def hardware(index: int, cache: Path, interpolation: str) -> Hardware:
    """A GPU for one session; `interpolation` scales its rungs. Raises `DeviceError`.

    Compiles the kernels the first time. Memory grows to what is in flight, and goes with the last
    picture.
    """
    gpu = Gpu(index, cache)
    pool = FramePool(gpu.device, gpu.allocate, row_bytes=ROW_BYTES)
    pinned = FramePool(CPU, gpu.pinned, row_bytes=ROW_BYTES)

    def blitter() -> Blitter:
        return Blitter(StartedKernels(gpu.stream(), gpu.upload, interpolation), pool, pinned)

    return Hardware(
        device=gpu.device,
        pool=pool,
        stages=blitter(),
        ladder=blitter(),
        decoder=partial(find("device codec", "nvdec"), gpu),
        encoder=partial(find("device codec", "nvenc"), gpu),
    )


def acceleration(index: int) -> HWAccel:
    """How libavcodec comes to a GPU: in the current context, pictures stay there."""
    return HWAccel(
        "cuda",
        device=index,
        allow_software_fallback=False,
        options=dict[str, object](CURRENT_CONTEXT),
        is_hw_owned=True,
    )


class Gpu:
    """Any thread may use it: each makes the context its own by `enter`."""

    def __init__(self, index: int, cache: Path) -> None:
        """Raises `DeviceError` where there is no driver or no such GPU."""
        self.device = Device("cuda", index)
        try:
            _block_when_waiting(index)
            self._gpu = CudaDevice(index)
            self._gpu.set_current()
        except (RuntimeError, ValueError) as error:
            raise DeviceError(f"{self.device}: {' '.join(str(error).split())}") from error
        self._entered = threading.local()
        self._kernels = LoadedKernels(self._gpu, cache)
        self._own = self._gpu.create_stream()
        # One for all frames: NVENC keeps to the frames context of the first.
        self._frames = CudaContext(device_id=index, primary_ctx=False, current_ctx=True)

    def enter(self) -> None:
        """Make its context that of the calling thread; once is enough."""
        if not getattr(self._entered, "before", False):
            self._gpu.set_current()
            self._entered.before = True

    def acceleration(self) -> HWAccel:
        self.enter()
        return acceleration(self.device.index)

    def decoded(self) -> CudaFence:
        """Passes once all is done that libavcodec has started: it works on the legacy stream."""
        return CudaFence(self, LEGACY_DEFAULT_STREAM.record())

    def lend(self, frame: Frame) -> av.VideoFrame:
        """libav's frame over NV12 in one block, which it keeps alive. Waits for nothing."""
        return av.VideoFrame.from_dlpack(
            tuple(exported(plane) for plane in frame.planes),
            format=frame.layout.value,
            width=frame.width,
            height=frame.height,
            cuda_context=self._frames,
        )

    def stream(self) -> CudaStream:
        self.enter()
        return CudaStream(self, self._gpu.create_stream(), self._kernels)

    def allocate(self, size: int) -> Allocation:
        """Memory of the GPU. Waits; pools ask only until they are warm. Raises `DeviceError`."""
        self.enter()
        try:
            buffer = self._gpu.memory_resource.allocate(size, stream=self._own)
            self._own.sync()
        except (CUDAError, MemoryError) as error:
            raise DeviceError(f"{self.device} has no {size} bytes left: {error}") from error
        return Allocation(buffer, size)

    def pinned(self, size: int) -> Allocation:
        """Memory of the host that the GPU copies to by itself. Raises `DeviceError`."""
        self.enter()
        try:
            return Allocation(LegacyPinnedMemoryResource().allocate(size), size)
        except (CUDAError, MemoryError) as error:
            raise DeviceError(f"no {size} bytes of the host can be pinned: {error}") from error

    def upload(self, array: NDArray[Any]) -> Allocation:
        memory = self.allocate(array.nbytes)
        _check(driver.cuMemcpyHtoD(memory.ptr, array.ctypes.data, array.nbytes))
        return memory


class Allocation:
    """`media.pool.Memory` of a GPU, or that it can reach."""

    __slots__ = ("_buffer", "ptr", "size")

    def __init__(self, buffer: Buffer, size: int) -> None:
        self._buffer = buffer
        self.ptr = int(buffer.handle)
        self.size = size


class CudaFence:
    """An event (`media.frame.Fence`)."""

    __slots__ = ("_event", "_gpu")

    def __init__(self, gpu: Gpu, event: Event) -> None:
        self._gpu = gpu
        self._event = event

    def done(self) -> bool:
        self._gpu.enter()
        return bool(self._event.is_done)

    def wait(self) -> None:
        self._gpu.enter()
        self._event.sync()

    def on_done(self, call: Callable[[], None]) -> None:
        self.wait()
        call()

    def before(self, stream: Stream) -> None:
        stream.wait(self._event)


class CudaStream:
    """`cuda.started.KernelStream`. Raises `DeviceError` where the driver refuses something."""

    def __init__(self, gpu: Gpu, stream: Stream, kernels: LoadedKernels) -> None:
        self._gpu = gpu
        self._stream = stream
        self._kernels = kernels

    def after(self, fence: Fence) -> None:
        self._gpu.enter()
        if isinstance(fence, CudaFence):
            fence.before(self._stream)
        else:
            fence.wait()  # nothing of this GPU: the host waits

    def record(self) -> CudaFence:
        self._gpu.enter()
        return CudaFence(self._gpu, self._stream.record())

    def start(self, launch: Launch) -> None:
        self._gpu.enter()
        self._kernels.start(launch, self._stream)

    def copy(self, source: int, target: int, size_bytes: int) -> None:
        self._gpu.enter()
        _check(driver.cuMemcpyAsync(target, source, size_bytes, self._stream.handle))

    def fill(self, plane: Plane, value: int) -> None:
        self._gpu.enter()
        rows, columns = plane.shape
        _check(
            driver.cuMemsetD2D8Async(
                plane.ptr, plane.pitch, value, columns, rows, self._stream.handle
            )
        )


def _block_when_waiting(index: int) -> None:
    """Set the flags that libavutil wants of the primary context, before anybody makes it."""
    _check(driver.cuInit(0))
    status, device = driver.cuDeviceGet(index)
    _check((status,))
    flags = driver.CUctx_flags.CU_CTX_SCHED_BLOCKING_SYNC
    _check(driver.cuDevicePrimaryCtxSetFlags(device, flags))


def _check(answer: tuple[Any, ...]) -> None:
    if answer[0] != driver.CUresult.CUDA_SUCCESS:
        raise DeviceError(f"the driver refused: {answer[0].name}")
