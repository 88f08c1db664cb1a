"""The driver's library: does it start, and which CUDA does it know?"""

from __future__ import annotations

import ctypes
import sys


def main() -> None:
    try:
        cuda = ctypes.CDLL("libcuda.so.1")
    except OSError:
        sys.exit("no NVIDIA driver (libcuda.so.1 not found)")
    if status := cuda.cuInit(0):
        sys.exit(f"the driver does not start (CUDA error {status})")
    known = ctypes.c_int(0)
    if status := cuda.cuDriverGetVersion(ctypes.byref(known)):
        sys.exit(f"the driver does not say its version (CUDA error {status})")
    print(", ".join([f"CUDA {known.value // 1000}.{known.value % 1000 // 10}", *_release()]))


def _release() -> list[str]:
    """The driver's own version, where NVML is there to say it."""
    try:
        nvml = ctypes.CDLL("libnvidia-ml.so.1")
    except OSError:
        return []
    text = ctypes.create_string_buffer(80)
    if nvml.nvmlInit_v2() or nvml.nvmlSystemGetDriverVersion(text, len(text)):
        return []
    return [f"driver {text.value.decode()}"]


if __name__ == "__main__":
    main()
