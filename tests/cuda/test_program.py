"""The kernels compile for every GPU that is meant, once."""

from __future__ import annotations

import struct
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from streamgen.errors import DeviceError

pytest.importorskip("cuda.core", reason="needs cuda-core (the extra gpu)")
pytest.importorskip("cuda.bindings", reason="needs cuda-bindings (the extra gpu)")

from streamgen.cuda import program
from streamgen.cuda.loaded import KERNELS
from streamgen.cuda.program import ARCHITECTURES, compiler, cubin

CUDA_MACHINE = 190
"""`EM_CUDA` of ELF."""


@pytest.fixture(autouse=True)
def nvrtc() -> None:
    try:
        compiler()
    except DeviceError as error:
        pytest.skip(f"needs nvidia-cuda-nvrtc (the extra gpu): {error}")


@pytest.fixture
def sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two small programs in place of ours, for what is not about ours."""
    folder = tmp_path / "sources"
    folder.mkdir()
    (folder / "one.cuh").write_text("constexpr int ONE = 1;\n")
    for name in ("small", "other"):
        (folder / f"{name}.cu").write_text(
            f'#include "one.cuh"\nextern "C" __global__ void {name}(int* all) {{ *all = ONE; }}\n'
        )
    monkeypatch.setattr(program, "SOURCES", folder)
    return folder


@pytest.fixture
def compiled(sources: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """What was really compiled, in turn."""
    seen: list[tuple[str, str]] = []
    compile_one = program._compiled

    def watched(name: str, architecture: str) -> bytes:
        seen.append((name, architecture))
        return compile_one(name, architecture)

    monkeypatch.setattr(program, "_compiled", watched)
    return seen


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("name", sorted(KERNELS))
def test_kernels_compile_without_a_gpu(name: str, architecture: str, tmp_path: Path) -> None:
    code = cubin(name, architecture, tmp_path)
    assert code[:4] == b"\x7fELF" and struct.unpack_from("<H", code, 18) == (CUDA_MACHINE,)
    for kernel in KERNELS[name]:
        assert kernel.encode() in code


def test_kernels_are_compiled_once(tmp_path: Path, compiled: list[tuple[str, str]]) -> None:
    first = cubin("small", "sm_90", tmp_path)
    assert cubin("small", "sm_90", tmp_path) == first
    cubin("small", "sm_80", tmp_path)
    cubin("other", "sm_90", tmp_path)
    assert compiled == [("small", "sm_90"), ("small", "sm_80"), ("other", "sm_90")]


def test_another_source_or_compiler_is_another_program(
    tmp_path: Path,
    sources: Path,
    compiled: list[tuple[str, str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cubin("small", "sm_90", tmp_path)
    with (sources / "one.cuh").open("a") as file:
        file.write("// another line\n")
    cubin("small", "sm_90", tmp_path)
    monkeypatch.setattr(program, "compiler", lambda: "99.9")
    cubin("small", "sm_90", tmp_path)
    assert len(compiled) == 3


@pytest.mark.parametrize("damage", [b"", b"\x7fELF", None], ids=["empty", "short", "one bit"])
def test_a_damaged_program_is_compiled_again(
    tmp_path: Path, compiled: list[tuple[str, str]], damage: bytes | None
) -> None:
    first = cubin("small", "sm_90", tmp_path)
    (path,) = (tmp_path / "cuda").glob("*.cubin")
    stored = bytearray(path.read_bytes())
    stored[-1] ^= 1
    path.write_bytes(bytes(stored) if damage is None else damage)
    assert cubin("small", "sm_90", tmp_path) == first
    assert len(compiled) == 2
    cubin("small", "sm_90", tmp_path)
    assert len(compiled) == 2


def test_many_at_once_compile_once(tmp_path: Path, compiled: list[tuple[str, str]]) -> None:
    made: list[bytes] = []
    threads = [
        threading.Thread(target=lambda: made.append(cubin("small", "sm_89", tmp_path)))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(made)) == 1 and len(made) == 4
    assert compiled == [("small", "sm_89")]


def test_what_nvrtc_says_is_told(tmp_path: Path, sources: Path) -> None:
    (sources / "broken.cu").write_text('extern "C" __global__ void broken() { not_there(); }\n')
    with pytest.raises(DeviceError, match=r"broken\.cu for sm_90: .*not_there.* is undefined"):
        cubin("broken", "sm_90", tmp_path)
    with pytest.raises(DeviceError, match="sm_1"):
        cubin("broken", "sm_1", tmp_path)


def test_a_cache_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DeviceError, match=r"cannot keep compiled kernels: .*Not a directory"):
        cubin("planes", "sm_90", tmp_path / "file")


def test_nothing_of_cuda_is_loaded_with_streamgen() -> None:
    """Not with the core, and not with what says how kernels are started."""
    code = (
        "import sys, streamgen.cli, streamgen.cuda.planes, streamgen.cuda.rungs\n"
        "print([name for name in sys.modules if name.partition('.')[0] == 'cuda'])"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout == "[]\n"
