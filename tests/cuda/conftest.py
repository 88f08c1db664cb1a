"""The benches that kernels are tested on; what is missing is named where a test is skipped."""

from __future__ import annotations

from pathlib import Path

import pytest

from streamgen.control.gpu import probe
from tests.cuda.bench import CXX, Bench, HostBench, compiled


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All kernels, compiled for this processor."""
    if CXX is None:
        pytest.skip("needs g++")
    return compiled(tmp_path_factory.mktemp("kernels"))


@pytest.fixture
def host(library: Path) -> HostBench:
    return HostBench(library)


@pytest.fixture(scope="session")
def gpu() -> Bench:
    """A GPU, for all tests: a driver is asked once."""
    pytest.importorskip("cuda.core", reason="needs cuda-core (the extra gpu)")
    found = probe()
    if isinstance(found, str):
        pytest.skip(f"needs an NVIDIA GPU: {found}")
    from tests.cuda.gpu import CudaBench

    return CudaBench()


@pytest.fixture(params=["host", pytest.param("gpu", marks=pytest.mark.gpu)])
def bench(request: pytest.FixtureRequest) -> Bench:
    bench: Bench = request.getfixturevalue(request.param)
    return bench
