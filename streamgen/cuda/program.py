"""Kernels compiled for a GPU: `cubin` makes machine code of a `.cu` file here, by NVRTC.

No driver, GPU or CUDA toolkit is needed for that, only the extra `gpu`. What was compiled once lies
in the cache. PTX would not do: a driver takes none that is newer than itself.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from cuda.bindings import nvrtc
from cuda.core import Program, ProgramOptions

# The public names of cuda.core have no error.
from cuda.core._utils.cuda_utils import CUDAError

from streamgen.cache import CachedFiles
from streamgen.errors import DeviceError

SOURCES = Path(__file__).parent
ARCHITECTURES = ("sm_80", "sm_89", "sm_90", "sm_120")
"""Ampere, Ada Lovelace, Hopper and Blackwell: what the tests compile for."""
STANDARD = "c++17"
DIGEST_BYTES = hashlib.sha256().digest_size


def cubin(name: str, architecture: str, cache: Path) -> bytes:
    """The kernels of `NAME.cu` for one architecture, as `sm_90`: from the cache, or compiled.

    The cache's key holds sources, architecture and NVRTC's version; a damaged file counts as none.
    Compiling takes a second: never on the frame path. Raises `DeviceError` where NVRTC is missing
    or refuses, and where the cache cannot be written.
    """
    key = hashlib.sha256(
        "\0".join([*_sources(name), architecture, compiler()]).encode()
    ).hexdigest()
    files = CachedFiles(cache / "cuda", ".cubin")
    if (kept := _whole(files.read(key))) is not None:
        return kept
    try:
        with files.making(key):
            kept = _whole(files.read(key))
            if kept is None:
                kept = _compiled(name, architecture)
                files.write(key, hashlib.sha256(kept).digest() + kept)
            return kept
    except OSError as error:
        raise DeviceError(f"cannot keep compiled kernels: {error}") from error


def compiler() -> str:
    """NVRTC's version, as `13.5`. Raises `DeviceError` where it is missing."""
    try:
        status, major, minor = nvrtc.nvrtcVersion()
    except RuntimeError as error:
        raise DeviceError(f"NVRTC is missing: {_line(error)}") from error
    if status != nvrtc.nvrtcResult.NVRTC_SUCCESS:
        raise DeviceError(f"NVRTC does not say its version: {status.name}")
    return f"{major}.{minor}"


def _sources(name: str) -> list[str]:
    """The file and all that it may include."""
    return [
        path.read_text(encoding="utf-8") for path in (_path(name), *sorted(SOURCES.glob("*.cuh")))
    ]


def _path(name: str) -> Path:
    return SOURCES / f"{name}.cu"


def _whole(kept: bytes | None) -> bytes | None:
    """What was kept behind its own digest, None where that is not so."""
    if kept is None:
        return None
    digest, code = kept[:DIGEST_BYTES], kept[DIGEST_BYTES:]
    return code if hashlib.sha256(code).digest() == digest else None


def _compiled(name: str, architecture: str) -> bytes:
    options = ProgramOptions(
        name=f"{name}.cu",
        std=STANDARD,
        arch=architecture,
        lineinfo=True,
        include_path=str(SOURCES),
    )
    try:
        program = Program(_path(name).read_text(encoding="utf-8"), "c++", options)
        code = program.compile("cubin").code
    except (CUDAError, RuntimeError) as error:
        raise DeviceError(f"{name}.cu for {architecture}: {_line(error)}") from error
    return bytes(code)


def _line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
