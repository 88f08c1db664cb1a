"""`probe`: the NVIDIA GPU that this process could work on, and what it has.

CUDA itself says which one that is, so `CUDA_VISIBLE_DEVICES` and MIG count as they do for all
programs; NVML says what codec engines it has. Both are asked in a process of their own, with a time
limit, since a driver may hang or crash. What was not found is not there: nothing is guessed from
names.
"""

from __future__ import annotations

import ctypes
import json
import subprocess
import sys
from dataclasses import asdict, dataclass
from uuid import UUID

PROBE_S = 20.0
"""A driver that has slept takes some seconds to start."""
H264 = 0
"""`NVML_ENCODER_QUERY_H264`."""


@dataclass(frozen=True, slots=True)
class Gpu:
    """A whole one, or an instance of MIG."""

    name: str
    memory_mb: int
    decoders: int
    """Engines, as far as NVML tells: of a GPU that is not divided, only whether there are any."""
    encoders: int
    visible: int
    """Devices that CUDA shows; this is the first one."""


class _Attributes(ctypes.Structure):
    """`nvmlDeviceAttributes_t`, of an instance of MIG."""

    _fields_ = (
        ("multiprocessors", ctypes.c_uint),
        ("copy_engines", ctypes.c_uint),
        ("decoders", ctypes.c_uint),
        ("encoders", ctypes.c_uint),
        ("jpeg_engines", ctypes.c_uint),
        ("optical_flow_engines", ctypes.c_uint),
        ("gpu_slices", ctypes.c_uint),
        ("compute_slices", ctypes.c_uint),
        ("memory_mb", ctypes.c_ulonglong),
    )


def probe(timeout_s: float = PROBE_S) -> Gpu | str:
    """The GPU, or why there is none."""
    try:
        done = subprocess.run(
            [sys.executable, "-m", "streamgen.control.gpu"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=timeout_s,
            check=True,
        )
        answer = json.loads(done.stdout)
        return str(answer["none"]) if "none" in answer else Gpu(**answer)
    except subprocess.TimeoutExpired:
        return f"the driver did not answer within {timeout_s:g} s"
    except subprocess.CalledProcessError as error:
        return f"asking the driver ended with status {error.returncode}"
    except (OSError, ValueError, KeyError, TypeError) as error:
        return f"the driver could not be asked: {error}"


# In the process that asks.


def _found() -> Gpu | str:
    try:
        cuda = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return "no NVIDIA driver (libcuda.so.1 not found)"
    if status := cuda.cuInit(0):
        return f"the driver does not start (CUDA error {status})"
    count, device = ctypes.c_int(0), ctypes.c_int(0)
    if cuda.cuDeviceGetCount(ctypes.byref(count)) or not count.value:
        return "a driver, but no GPU"
    name, memory = ctypes.create_string_buffer(100), ctypes.c_size_t(0)
    uuid = (ctypes.c_ubyte * 16)()
    asked = (
        cuda.cuDeviceGet(ctypes.byref(device), 0),
        cuda.cuDeviceGetName(name, len(name), device),
        cuda.cuDeviceTotalMem_v2(ctypes.byref(memory), device),
        cuda.cuDeviceGetUuid_v2(uuid, device),  # of an instance of MIG, its own
    )
    if any(asked):
        return f"the driver does not say what the GPU is (CUDA error {max(asked)})"
    decoders, encoders = _engines(str(UUID(bytes=bytes(uuid))))
    return Gpu(name.value.decode(), memory.value >> 20, decoders, encoders, count.value)


def _engines(uuid: str) -> tuple[int, int]:
    """Decoders and encoders; none where NVML does not say that there are any."""
    try:
        nvml = ctypes.CDLL("libnvidia-ml.so.1")
    except OSError:
        return 0, 0
    if nvml.nvmlInit_v2():
        return 0, 0
    device, attributes = ctypes.c_void_p(), _Attributes()
    if not nvml.nvmlDeviceGetHandleByUUID(f"MIG-{uuid}".encode(), ctypes.byref(device)):
        if nvml.nvmlDeviceGetAttributes_v2(device, ctypes.byref(attributes)):
            return 0, 0
        return attributes.decoders, attributes.encoders
    if nvml.nvmlDeviceGetHandleByUUID(f"GPU-{uuid}".encode(), ctypes.byref(device)):
        return 0, 0
    share, period = ctypes.c_uint(0), ctypes.c_uint(0)
    decodes = not nvml.nvmlDeviceGetDecoderUtilization(
        device, ctypes.byref(share), ctypes.byref(period)
    )
    # Some GPUs decode and do not encode: NVML says that they have no capacity for it, or nothing.
    encodes = not nvml.nvmlDeviceGetEncoderCapacity(device, H264, ctypes.byref(share))
    return int(decodes), int(encodes and share.value > 0)


if __name__ == "__main__":
    gpu = _found()
    print(json.dumps({"none": gpu} if isinstance(gpu, str) else asdict(gpu)))
