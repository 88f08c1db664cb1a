"""Where the kernels run: compiled for this processor, or on a GPU. One body of tests for both."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

import streamgen.cuda
from streamgen.cuda.launch import Launch
from streamgen.media.frame import CPU, Device

SOURCES = Path(streamgen.cuda.__file__).parent
HARNESS = Path(__file__).with_name("host.cpp")
CXX = shutil.which("g++")
OPTIONS = ("-std=c++17", "-O2", "-fno-strict-aliasing", "-shared", "-fPIC")
WARNINGS = ("-Wall", "-Wextra", "-Werror", "-Wno-unknown-pragmas")

Bytes = NDArray[np.uint8]


class Bench(Protocol):
    """Memory that kernels work on, and a way to start them."""

    device: Device

    def put(self, data: Bytes) -> int:
        """Copy into memory that ends where no kernel may go; its address. Rows of a multiple of
        64 bytes begin at such a multiple too."""
        ...

    def get(self, address: int) -> Bytes:
        """What lies there now, all that was put."""
        ...

    def run(self, launch: Launch) -> None:
        """Run to the end. Raises `AssertionError` where the kernel breaks a rule."""
        ...


def compiled(folder: Path) -> Path:
    """The library of kernels for this processor."""
    assert CXX is not None
    library = folder / "kernels.so"
    command = [CXX, *OPTIONS, *WARNINGS, f"-I{SOURCES}", str(HARNESS), "-o", str(library)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return library


class HostBench:
    """Fenced memory of this process."""

    device = CPU

    def __init__(self, library: Path) -> None:
        self._library = ctypes.CDLL(str(library))
        self._library.launch.restype = ctypes.c_char_p
        self._library.fenced.restype = ctypes.c_void_p
        self._library.fenced.argtypes = [ctypes.c_size_t]
        self._library.release.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
        self._library.job_size.restype = ctypes.c_size_t
        self._memory: dict[int, int] = {}

    def job_size(self, kernel: str) -> int:
        """Bytes of its parameter as the compiler lays it out; 0 where there is no such kernel."""
        return int(self._library.job_size(kernel.encode()))

    def put(self, data: Bytes) -> int:
        address = self._library.fenced(data.size)
        assert address is not None
        weakref.finalize(self, self._library.release, address, data.size).atexit = False
        self._memory[address] = data.size
        self._view(address)[:] = data.reshape(-1)
        return int(address)

    def get(self, address: int) -> Bytes:
        return self._view(address).copy()

    def _view(self, address: int) -> Bytes:
        return np.ctypeslib.as_array((ctypes.c_uint8 * self._memory[address]).from_address(address))

    def run(self, launch: Launch) -> None:
        grid, block = (three(size) for size in (launch.grid, launch.block))
        assert ctypes.sizeof(launch.job) == self.job_size(launch.kernel), launch.kernel
        failed = self._library.launch(
            launch.kernel.encode(), grid, block, launch.shared_bytes, ctypes.byref(launch.job)
        )
        assert failed is None, f"{launch.kernel} {failed.decode()}"


def three(size: Sequence[int]) -> ctypes.Array[ctypes.c_uint]:
    return (ctypes.c_uint * 3)(*size)
